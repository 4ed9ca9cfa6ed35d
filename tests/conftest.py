"""Every test runs with strict dtypes and ranks: nothing is promoted in silence."""

import jax

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
