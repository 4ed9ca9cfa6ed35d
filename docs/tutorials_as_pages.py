"""Pages of the site made of the scripts in docs/tutorials, which CI runs.

A line `# %% [markdown]` begins text, in comments; a line `# %%` begins code. Editors
show such a script as a notebook. MkDocs calls `on_files`, because mkdocs.yml names this
file.
"""

import re
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def as_page(script: str) -> str:
    """Return the Markdown of a script in cells."""
    cells = re.split(r"^# %%(.*)\n", script, flags=re.M)
    parts = []
    for kind, cell in zip(cells[1::2], cells[2::2], strict=True):
        if "[markdown]" in kind:
            parts.append(re.sub(r"^# ?", "", cell, flags=re.M).strip())
        elif cell.strip():
            parts.append(f"```python\n{cell.strip()}\n```")
    return "\n\n".join(parts) + "\n"


def on_files(files: Any, config: Any) -> Any:
    """Add a page for each tutorial (MkDocs calls this)."""
    from mkdocs.structure.files import File

    for path in sorted((HERE / "tutorials").glob("*.py")):
        name = f"tutorials/{path.stem}.md"
        source = f"{config.repo_url}/blob/main/docs/tutorials/{path.name}"
        text = f"{as_page(path.read_text())}\n[This page as a script]({source})\n"
        files.append(File.generated(config, name, content=text))
    return files
