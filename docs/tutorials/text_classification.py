# %% [markdown]
# # Text classification: what is a docstring about?
#
# A ticket goes to a department, a mail to a folder, a review is a complaint or not: a
# short text gets one of a few labels. Here the texts are docstrings of Python's own
# library, which every reader has, and the label is the subject of the module. We start
# with a rival that needs no network, and ask what reading the words in order adds.

# %%
import ast
import collections
import re
import sysconfig
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from matplotlib.figure import Figure
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import train_test_split

import jopt
from jopt import sweep
from jopt.core import pytree

# %% [markdown]
# ## Texts without copies
#
# Libraries repeat themselves: "Return the length" stands in many classes. A text that
# is in two parts of the data is a question whose answer was given, so each text is kept
# once, and not at all if its copies have different labels. The numbers on this page are
# those of one version of Python.

# %%
SUBJECTS = {
    "async": "asyncio",
    "mail": "email mailbox smtplib imaplib poplib",
    "numbers": "_pydecimal statistics fractions random",
    "processes": "multiprocessing concurrent threading subprocess",
    "testing": "unittest doctest",
    "web": "http urllib wsgiref xmlrpc html",
}
DOCUMENTED = ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef
library = Path(sysconfig.get_path("stdlib"))
subjects_of = collections.defaultdict(set)
for number, names in enumerate(SUBJECTS.values()):
    for name in names.split():
        for path in [library / f"{name}.py", *(library / name).rglob("*.py")]:
            if not path.exists() or {"test", "tests"} & set(path.parts):
                continue
            for node in ast.walk(ast.parse(path.read_bytes())):
                if isinstance(node, DOCUMENTED):
                    said = re.findall("[a-z]+", (ast.get_docstring(node) or "").lower())
                    if len(said) >= 3:
                        subjects_of[" ".join(said)].add(number)

pairs = sorted((text, min(of)) for text, of in subjects_of.items() if len(of) == 1)
texts = np.array([text for text, _ in pairs], object)
labels = np.array([label for _, label in pairs], np.int32)
rows, test = train_test_split(
    np.arange(len(labels)), test_size=0.2, stratify=labels, random_state=0
)
train, valid = train_test_split(
    rows, test_size=0.25, stratify=labels[rows], random_state=0
)
print(dict(zip(SUBJECTS, np.bincount(labels).tolist(), strict=True)))

# %% [markdown]
# ## What it must beat
#
# Count the words, weigh rare ones more (TF-IDF), and fit a logistic regression. Its
# strength is chosen on validation, as ours will be: a rival at its defaults is too
# easy. Always saying the most frequent subject is the floor.

# %%
tfidf = TfidfVectorizer(sublinear_tf=True).fit(texts[train])
fitted = [
    LogisticRegression(C=strength, max_iter=1000).fit(
        tfidf.transform(texts[train]), labels[train]
    )
    for strength in (1, 10, 100)
]


def accuracy_of(model, rows):
    return float(model.score(tfidf.transform(texts[rows]), labels[rows]))


regression = max(fitted, key=lambda model: accuracy_of(model, valid))
frequent = np.bincount(labels[train]).argmax()
baseline = {
    "most frequent": {
        "accuracy": float(np.mean(labels[valid] == frequent)),
        "test_accuracy": float(np.mean(labels[test] == frequent)),
    },
    "logistic regression": {
        "accuracy": accuracy_of(regression, valid),
        "test_accuracy": accuracy_of(regression, test),
    },
}
for name, values in baseline.items():
    print(f"{name:20} validation accuracy {values['accuracy']:.3f}")

# %% [markdown]
# ## Words as numbers
#
# Programs have fixed shapes: a text is its first 32 words, and shorter ones are filled
# with 0. The vocabulary comes from the training part. It holds words of at least two
# texts, because a word that is seen once teaches only that text. All others are 1,
# "unknown", which is also what new texts bring.

# %%
LENGTH = 32
counts = collections.Counter(word for row in train for word in set(texts[row].split()))
known = sorted(word for word, texts_with in counts.items() if texts_with > 1)
code = {word: number for number, word in enumerate(known, start=2)}
codes = np.zeros((len(texts), LENGTH), np.int32)
for row, text in zip(codes, texts, strict=True):
    words = text.split()[:LENGTH]
    row[: len(words)] = [code.get(word, 1) for word in words]

# %% [markdown]
# ## Two models
#
# Both give each word a vector. *Average* adds up the vectors of a text, divides by the
# root of their number, and asks a linear layer. It cannot know the order of the words.
# *Attention* is the same with one layer between, in which each word sees the others and
# its place. So the second can be better only by what order and company say.


# %%
class Average(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        normal = nnx.initializers.normal(0.1)
        self.words = nnx.Param(normal(rngs.params(), (len(known) + 2, 32)))
        self.last = nnx.Linear(32, len(SUBJECTS), rngs=rngs)

    def read(self, vectors: jax.Array, there: jax.Array) -> jax.Array:
        return vectors

    def __call__(self, codes: jax.Array) -> jax.Array:
        there = codes > 0
        x = self.read(self.words[...][codes], there)  # [batch, words, 32]
        x = jnp.where(there[..., None], x, 0).sum(axis=1)
        return self.last(x / jnp.sqrt(jnp.maximum(there.sum(axis=1, keepdims=True), 1)))


class Attention(Average):
    def __init__(self, rngs: nnx.Rngs):
        super().__init__(rngs)
        normal = nnx.initializers.normal(0.1)
        self.places = nnx.Param(normal(rngs.params(), (LENGTH, 32)))
        self.attention = nnx.MultiHeadAttention(4, 32, decode=False, rngs=rngs)

    def read(self, vectors: jax.Array, there: jax.Array) -> jax.Array:
        x = vectors + self.places[...][None]
        return x + self.attention(x, mask=there[:, None, None])


# %% [markdown]
# ## Words left out
#
# 1,300 short texts are soon learnt by heart. Leaving out words at random, anew in each
# step, makes that harder: no single word is there to rely on. The share is a number of
# the trial's augmentation, so it is swept in the same program as the rate.


# %%
@pytree
class LeaveOut:
    """Make some words of each text unknown."""

    share: float

    def __call__(self, batch, key):
        codes, labels = batch
        hidden = jax.random.bernoulli(key, self.share, codes.shape) & (codes > 0)
        return jnp.where(hidden, 1, codes), labels


def evaluate(model, batch):
    logits = model(batch[0])
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch[1])
    return {"loss": losses, "accuracy": logits.argmax(axis=1) == batch[1]}


tasks = {
    model.__name__: sweep.Task.from_model(
        "docstrings",
        lambda key, model=model: model(nnx.Rngs(key)),
        lambda model, batch, key: evaluate(model, batch)["loss"].mean(),
        evaluate,
        predict=lambda model, batch: model(batch[0]).argmax(axis=1),
        train=(codes[train], labels[train]),
        valid=(codes[valid], labels[valid]),
        test=(codes[test], labels[test]),
        metric="accuracy",
        mode="max",
        batch_size=32,
        baseline=baseline,
    )
    for model in (Average, Attention)
}

# %% [markdown]
# ## A sweep over both
#
# A model is no number. The factory returns it in a `Setup`, and the sweep compiles one
# program for each of the two. Rates and shares are numbers within them: `block=4`
# trains the four settings of a model together.


# %%
def factory(model, learning_rate, left_out):
    tx = jopt.schedule_free_adamw(learning_rate, weight_decay=0.1)
    return sweep.Setup(sweep.Supervised(tx, augment=LeaveOut(left_out)), tasks[model])


space = {"learning_rate": [1e-2, 3e-2], "left_out": [0.0, 0.5]}
trials = sweep.grid(factory, model=list(tasks), **space)
result = sweep.run(tasks["Average"], trials, epochs=8, segments=4, block=4)
table = result.table
for model in tasks:
    mine = np.where(table["model"] == model, table["valid_accuracy"], 0)
    best = int(mine.argmax())
    setting = {name: table[name][best].item() for name in space}
    print(f"{model:10} validation accuracy {mine[best]:.3f}, {setting}")

# %% [markdown]
# ## The test, once
#
# In truth twice: an earlier model gave 0.808 here. It was replaced because its best
# setting lay at the ends of its ranges, which validation shows. A look at the test that
# changes a model makes the next number a little too good.

# %%
best = result.best
assert best is not None
print(best.hyperparameters)
for name, values in baseline.items():
    print(f"{name:20} test accuracy {values['test_accuracy']:.3f}")
print(f"{best.hyperparameters['model']:20} test accuracy {best.test['accuracy']:.3f}")

# %% [markdown]
# ## A picture
#
# ![Which subjects are taken for which](text_classification.png)

# %%
said = np.asarray(result.predict(codes[test]))
shares = confusion_matrix(labels[test], said, normalize="true")
figure = Figure(figsize=(4.8, 4.2), layout="constrained")
axes = figure.subplots()
axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
for (row, column), share in np.ndenumerate(shares):
    color = "white" if share > 0.5 else "black"
    axes.text(column, row, f"{share:.0%}", ha="center", va="center", color=color)
axes.set_xticks(range(len(SUBJECTS)), list(SUBJECTS), rotation=45)
axes.set_yticks(range(len(SUBJECTS)), list(SUBJECTS))
axes.set(xlabel="said", ylabel="subject")
figure.savefig(Path(__file__).with_suffix(".png"), dpi=100)

# %% [markdown]
# ## What was learnt
#
# - On a thousand short texts, counted words are hard to beat. Fit the regression first,
#   and show it beside whatever comes after.
# - The test has some 440 texts, and the standard error of an accuracy of 0.85 is 0.017.
#   A smaller difference is no reason to prefer a model.
# - The picture says more than the accuracy. Mail and web share headers and servers,
#   async and processes share tasks and queues. Where labels overlap, better labels help
#   more than a better model.
# - With more texts there is more to learn: `jopt.tasks.docstrings` has 16 subjects, and
#   5,000 texts to train on.
