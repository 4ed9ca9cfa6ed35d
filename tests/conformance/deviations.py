"""Where jopt differs from optax on purpose, and what is not jopt's to replace."""

OWN = frozenset({"GradientTransformation", "MuonDimensionNumbers"})
"""Names that stay optax's: its tests make named tuples of them. jopt takes both."""

_STATE = (
    "the state of low-precision params is float32 unless a dtype is given: in bfloat16 "
    "a second moment never decays"
)
_COMPLEX = (
    "a real dtype given for the state leaves complex params' state complex: it would "
    "drop the imaginary part"
)
_TUPLE = (
    "jopt's transformations are pytrees and no instances of optax's named tuple; "
    "to_optax makes one"
)
_NONE = "trees that differ are an error that names the path, a None for an array too"
_FINITE = "apply_if_finite never lets a non-finite update through, at no count"
_HERE = "optax fails this case too, with this jax or on this machine"

DEVIATIONS = {
    r"AliasTest::test_explicit_dtype(9|10|11)$": _STATE,
    r"AliasTest::test_explicit_dtype2[4-9]$": _COMPLEX,
    r"ExtraArgsTest::test_extra_args(_chaining)?$": _TUPLE,
    r"UpdateTest::test_none_argument_(apply_updates|incremental_update)$": _NONE,
    r"AddingTest::test_none_argument$": _NONE,
    r"test_apply_if_finite_(sgd|sgd_extra_args|stateful_sgd)$": _FINITE,
    r"test_hyperparam_default_dtype_bf16$": (
        "hyperparameters are float32 whatever the params are: in bfloat16 b2 = 0.999 "
        "is 1, and Adam's first update NaN"
    ),
    r"WarmupCosineDecayTest::test_zero_peak_value$": (
        "the schedule ends at end_value, also where the peak is 0"
    ),
    r"MuonTest::test_dim_nums_combinations": (
        "a prefix without dimension numbers is one masked node, as under a mask"
    ),
    r"ScheduleFreeTest::test_explicit_dtype3$": _STATE,
    r"accept_learning_rate_schedule_if_type_annotated_as_such1[45]$": (
        "schedule_free's warmup is of a rate that is a number; a schedule has its own"
    ),
    r"ClippingTest::test_clip_by_block_rms$": _HERE,
    r"ShardingTest::test_state_sharding_type_\w+_lbfgs$": _HERE,
    r"(FreezeTest|SelectiveTransformTest)::test_(selective_)?bad_structure": _HERE,
}
"""Why a case does not pass, by a pattern of its name."""
