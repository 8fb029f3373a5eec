"""Writes clusters.json: what sentence-transformers and scikit-learn find in a small collection of vectors. Needs
`pip install -r requirements.txt scikit-learn==1.9.1`.

    python tests/golden/make_clusters.py"""

import base64
import json
from pathlib import Path

import numpy as np
import sentence_transformers
import sklearn
from sentence_transformers.util import community_detection, paraphrase_mining_embeddings
from sklearn.cluster import KMeans

HERE = Path(__file__).parent
CLUSTERS = 7


def main():
    random = np.random.default_rng(5)
    centres = random.normal(size=(12, 24))
    rows = centres[random.integers(0, 12, size=400)] * random.uniform(0.5, 2, size=(400, 1))
    vectors = (rows + 0.6 * random.normal(size=rows.shape)).astype(np.float32)
    pairs = paraphrase_mining_embeddings(vectors, query_chunk_size=100, max_pairs=150, top_k=4)
    # From centres so near each other that they have a way to go.
    kmeans = KMeans(CLUSTERS, init=vectors[:1] + 0.01 * vectors[:CLUSTERS], n_init=1, tol=0, algorithm="lloyd").fit(vectors)
    found = {
        "made_by": f"sentence-transformers {sentence_transformers.__version__}, scikit-learn {sklearn.__version__}",
        "dimensions": vectors.shape[1],
        "vectors": base64.b64encode(vectors.tobytes()).decode(),
        "pairs": pairs,
        "communities": [
            {"threshold": threshold, "minCommunitySize": size, "found": community_detection(vectors, threshold, size)}
            for threshold, size in [(0.7, 5), (0.8, 10), (0.9, 2), (0.99, 2)]
        ],
        "kMeans": {"clusters": CLUSTERS, "labels": kmeans.labels_.tolist(), "inertia": float(kmeans.inertia_), "iterations": kmeans.n_iter_},
    }
    (HERE / "clusters.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
