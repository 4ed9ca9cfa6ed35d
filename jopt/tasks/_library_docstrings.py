"""The docstrings of Python's standard library, each with its subject."""

import ast
import re

# The modules of each subject; docstrings of other modules are left out.
SUBJECTS = {
    "async": "asyncio",
    "debugging": "pdb bdb trace traceback profile cProfile pstats timeit dis "
    "tracemalloc",
    "files": "tarfile zipfile pathlib shutil tempfile os ntpath posixpath genericpath "
    "glob fnmatch gzip bz2 lzma fileinput filecmp io _pyio stat",
    "gui": "tkinter idlelib turtle turtledemo curses",
    "language": "ast typing inspect symtable tokenize pydoc enum collections functools "
    "operator abc types dataclasses contextlib pyclbr copy",
    "logging": "logging warnings",
    "mail": "email mailbox smtplib imaplib poplib nntplib smtpd mimetypes quopri",
    "modules": "importlib distutils imp pkgutil zipimport venv ensurepip site "
    "sysconfig modulefinder runpy zipapp",
    "network": "ssl socket socketserver ftplib telnetlib ipaddress selectors asyncore",
    "numbers": "_pydecimal decimal statistics fractions numbers random heapq bisect",
    "processes": "multiprocessing concurrent threading queue subprocess sched signal",
    "testing": "unittest doctest",
    "text": "encodings codecs difflib re textwrap string gettext locale stringprep",
    "time": "datetime _pydatetime calendar _strptime zoneinfo",
    "web": "http urllib wsgiref xmlrpc html cgi cgitb webbrowser",
    "xml": "xml",
}
FEWEST = 3  # least words of a docstring
_SUBJECT = {name: of for of, names in SUBJECTS.items() for name in names.split()}
_TESTS = {"test", "tests", "idle_test"}
_WITH_DOCSTRINGS = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def words(text: str) -> list[str]:
    """Return the words of a text, in lower case; aCamelCase is split into three."""
    return re.findall("[a-z]+", re.sub("(?<=[a-z])(?=[A-Z])", " ", text).lower())


def read_docstrings(sources: dict[str, bytes]) -> list[tuple[str, str]]:
    """Return (subject, words joined by spaces) of each docstring, sorted.

    Of docstrings with the same words only one is kept, and none if their subjects
    differ, so that no text is in two parts of a split. Tests are left out, and so are
    files that are not valid Python or not in their declared encoding.

    Args:
      sources: files by path; the first part of the path is the module.
    """
    found: dict[str, set[str]] = {}
    for path, source in sources.items():
        parts = path.removesuffix(".py").split("/")
        subject = _SUBJECT.get(parts[0])
        if subject is None or _TESTS & set(parts):
            continue
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError):  # ValueError: a null byte
            continue
        for node in ast.walk(tree):
            if isinstance(node, _WITH_DOCSTRINGS):
                own = words(ast.get_docstring(node) or "")
                if len(own) >= FEWEST:
                    found.setdefault(" ".join(own), set()).add(subject)
    of_one = [(min(of), text) for text, of in found.items() if len(of) == 1]
    return sorted(of_one)
