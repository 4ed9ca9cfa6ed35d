"""Say where the scripts lie that tests run in processes of their own."""

from pathlib import Path

SUPPORT = Path(__file__).parent
