"""The toolkit of authors of transformations; `__all__` lists it.

- Classes: `pytree`, `field`, `static` and `check`; `checked` and `Kind` for arguments.
- Transformations: `GradientTransformation`, `chain`, `as_transformation`, `needed`.
- Numbers by name: `hyperparameters` and `replace`; `Schedule` and `value_at`.
- Arithmetic: `wide`, `mix`, `bias`, `root`; steps: `increment`, `progress`.
- Leaves: `map_leaves`, `sum_leaves`, `full_like`, `global_norm`, `apply_updates`.
- Which leaves: `Mask` and `Labels`; leaves joined into vectors: `Buckets` and `pack`.
- Matrices: `inverse_power`, `eigenbasis`; blocks of leaves: `Blocking`, `map_stacks`.
- Random numbers: `resolve_seed`, `initial_key`; sharding: `replicated`, `sharded_like`.

Names that are imported here but not listed serve other parts of jopt.
"""

from jopt.core._arguments import (
    check_argument as check_argument,
    checked,
    checked_class as checked_class,
    named_class as named_class,
)
from jopt.core._buckets import (
    LARGEST_JOINED as LARGEST_JOINED,
    Buckets,
    matching_leaves as matching_leaves,
    pack,
    pack_leaves as pack_leaves,
    pack_like,
    unpack,
)
from jopt.core._chain import Chain, chain, named_chain
from jopt.core._errors import (
    argument_error as argument_error,
    close_match as close_match,
    error_about as error_about,
    function_name as function_name,
    noted as noted,
    shown as shown,
)
from jopt.core._explicit_sharding import (
    partition_spec,
    reduced_zeros,
    replicated,
    sharded,
    sharded_like,
)
from jopt.core._factory import (
    Factory as Factory,
    FactorySettings as FactorySettings,
    factory_arguments as factory_arguments,
    factory_names as factory_names,
    factory_signature as factory_signature,
)
from jopt.core._hyperparameters import children as children, hyperparameters, replace
from jopt.core._kinds import (
    Arrays,
    Count,
    DType,
    FilePath as FilePath,
    Key,
    Kind,
    Params as Params,
    Seed as Seed,
    State as State,
    is_array as is_array,
    is_count as is_count,
    is_number as is_number,
    is_path as is_path,
)
from jopt.core._labels import (
    Labels,
    Mask,
    as_mask,
    by_path as by_path,
    listed_paths as listed_paths,
    nested as nested,
    path_text as path_text,
    with_paths as with_paths,
)
from jopt.core._late import late as late
from jopt.core._leaves import (
    all_finite,
    apply_updates,
    copied,
    full_like,
    global_norm,
    inner_product,
    leaves_like,
    map_leaves,
    normal_like,
    stored,
    sum_leaves,
)
from jopt.core._matrices import (
    eigenbasis,
    gram,
    inverse_power,
    multiply_along,
    multiply_along_axes,
    refined_basis,
    solve_upper_transposed,
    unfold,
)
from jopt.core._numbers import (
    abs_sq,
    as_number,
    bias,
    debiased,
    dtype_of,
    increment,
    is_integer as is_integer,
    is_real as is_real,
    mix,
    norm,
    over_root,
    quotient,
    rms,
    root,
    shrink,
    standard_promotion,
    wide,
    wide_dtype,
    wide_numbers,
)
from jopt.core._param_copies import depends_on_values as depends_on_values
from jopt.core._pytree import Number, PyTree, TreePath, check, field, pytree, static
from jopt.core._schedule import (
    FunctionSchedule as FunctionSchedule,
    ScalarOrSchedule,
    Schedule,
    as_schedule,
    value_at,
)
from jopt.core._seeds import (
    initial_key,
    is_typed_key as is_typed_key,
    key_from_data,
    resolve_seed,
)
from jopt.core._serialization import register_with_flax as register_with_flax
from jopt.core._stacks import (
    Blocking,
    even_blocks,
    init_stacks,
    map_stacks,
    merge_axes,
    stacked_identities,
    stacked_zeros,
)
from jopt.core._steps import Progress, divmod_steps, progress, round_if_close
from jopt.core._transformation import (
    EmptyState,
    GradientTransformation,
    Transformation,
    as_transformation,
    check_arrays as check_arrays,
    common_groups,
    init_foreign as init_foreign,
    is_transformation as is_transformation,
    needed,
    needed_loss,
    update_foreign as update_foreign,
)

__all__ = [
    "Arrays",
    "Blocking",
    "Buckets",
    "Chain",
    "Count",
    "DType",
    "EmptyState",
    "GradientTransformation",
    "Key",
    "Kind",
    "Labels",
    "Mask",
    "Number",
    "Progress",
    "PyTree",
    "ScalarOrSchedule",
    "Schedule",
    "Transformation",
    "TreePath",
    "abs_sq",
    "all_finite",
    "apply_updates",
    "as_mask",
    "as_number",
    "as_schedule",
    "as_transformation",
    "bias",
    "chain",
    "check",
    "checked",
    "common_groups",
    "copied",
    "debiased",
    "divmod_steps",
    "dtype_of",
    "eigenbasis",
    "even_blocks",
    "field",
    "full_like",
    "global_norm",
    "gram",
    "hyperparameters",
    "increment",
    "init_stacks",
    "initial_key",
    "inner_product",
    "inverse_power",
    "key_from_data",
    "leaves_like",
    "map_leaves",
    "map_stacks",
    "merge_axes",
    "mix",
    "multiply_along",
    "multiply_along_axes",
    "named_chain",
    "needed",
    "needed_loss",
    "norm",
    "normal_like",
    "over_root",
    "pack",
    "pack_like",
    "partition_spec",
    "progress",
    "pytree",
    "quotient",
    "reduced_zeros",
    "refined_basis",
    "replace",
    "replicated",
    "resolve_seed",
    "rms",
    "root",
    "round_if_close",
    "sharded",
    "sharded_like",
    "shrink",
    "solve_upper_transposed",
    "stacked_identities",
    "stacked_zeros",
    "standard_promotion",
    "static",
    "stored",
    "sum_leaves",
    "unfold",
    "unpack",
    "value_at",
    "wide",
    "wide_dtype",
    "wide_numbers",
]
