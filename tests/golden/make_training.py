"""Writes training.json and training.safetensors: what scikit-learn's logistic regressions are for small sets of vectors, and how
well they do on vectors that all-MiniLM-L6-v2 makes of topics.json. Needs `pip install -r requirements.txt scikit-learn==1.9.1`.

    python tests/golden/make_training.py --model <folder of all-MiniLM-L6-v2>

topics.json is written by hand: 36 sentences on each of ten topics."""

import argparse
import json
import warnings
from pathlib import Path

import numpy as np
import sklearn
from safetensors.numpy import save_file
from sentence_transformers import SentenceTransformer
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV

HERE = Path(__file__).parent
# Where the optimum is, and not where a default tolerance stops.
EXACT = dict(tol=1e-9, max_iter=200_000)
GRID = np.logspace(-4, 4, 10)


def cross_validated(vectors, classes, **more):
    folds = min(5, np.bincount(classes).min())
    with warnings.catch_warnings():
        # Defaults that are to change.
        warnings.simplefilter("ignore", FutureWarning)
        search = LogisticRegressionCV(Cs=10, cv=int(folds), scoring="accuracy", use_legacy_attributes=True, **EXACT, **more).fit(vectors, classes)
    (scores,) = {key: value for key, value in search.scores_.items()}.values() if len(search.scores_) == 1 else [search.scores_[1]]
    return search, scores.mean(axis=0)


def clouds(seed, counts, width, spread):
    """Vectors of unit length around a centre for each class, in a mixed order, and as many again to be classified."""
    random = np.random.default_rng(seed)
    classes = random.permutation(np.repeat(np.arange(len(counts)), counts))
    centres = random.normal(size=(len(counts), width))
    vectors, others = (centres[classes] + spread * random.normal(size=(len(classes), width)) for _ in range(2))
    unit = lambda rows: (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit(vectors), classes, unit(others)


def small():
    tensors, cases = {}, {}
    for name, counts, width, spread in [
        ("eight-each", [8] * 9, 13, 1.0),
        ("unbalanced", [3, 20, 8, 5], 7, 0.8),
        ("two", [10, 14], 5, 1.2),
        ("wide", [6, 7, 6, 9, 6], 61, 1.8),
    ]:
        vectors, classes, others = clouds(sum(map(ord, name)), counts, width, spread)
        exact = vectors.astype(np.float64)
        search, scores = cross_validated(exact, classes)
        fits = {}
        for c in (0.01, 1.0, 100.0):
            fit = LogisticRegression(C=c, **EXACT).fit(exact, classes)
            tensors |= {f"{name}.{c}.coef": fit.coef_, f"{name}.{c}.intercept": fit.intercept_, f"{name}.{c}.probabilities": fit.predict_proba(others)}
            fits[c] = float(fit.score(others, classes))
        means = np.stack([exact[classes == index].mean(axis=0) for index in range(len(counts))])
        tensors |= {f"{name}.vectors": vectors, f"{name}.others": others, f"{name}.cosines": others @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T}
        # The first of the best, which is the strongest regularisation.
        cases[name] = dict(width=width, classes=classes.tolist(), regularization=float(GRID[scores.argmax()]), accuracy=float(scores.max()), score=fits)
        assert np.isclose(np.ravel(search.C_)[0], cases[name]["regularization"])
    save_file({name: np.ascontiguousarray(values, dtype=np.float32) for name, values in tensors.items()}, HERE / "training.safetensors")
    return cases


def topics(folder):
    """Eight texts a topic to train on, forty to be classified: two sentences each, none in both."""
    sentences = json.loads((HERE / "topics.json").read_text())
    examples = [(f"{own[i]} {own[i + 1]}", label) for label, own in sentences.items() for i in range(0, 16, 2)]
    others = [(f"{own[16 + i]} {own[16 + (i + step) % 20]}", label) for label, own in sentences.items() for step in (1, 3) for i in range(20)]
    model = SentenceTransformer(str(folder), device="cpu")
    (vectors, classes), (tests, expected) = (
        (model.encode([text for text, _ in texts]).astype(np.float64), np.unique([label for _, label in texts], return_inverse=True)[1])
        for texts in (examples, others)
    )
    search, scores = cross_validated(vectors, classes)
    return dict(
        examples=len(examples), others=len(others), regularization=float(GRID[scores.argmax()]), accuracy=float(scores.max()),
        score=float(search.score(tests, expected)), score_at_one=float(LogisticRegression(**EXACT).fit(vectors, classes).score(tests, expected)),
        score_by_default=float(LogisticRegression().fit(vectors, classes).score(tests, expected)),
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True, type=Path)
    written = dict(small=small(), topics=topics(parser.parse_args().model), made_with=dict(sklearn=sklearn.__version__))
    (HERE / "training.json").write_text(json.dumps(written, indent=1) + "\n")
    print(json.dumps(written["topics"], indent=1))


if __name__ == "__main__":
    main()
