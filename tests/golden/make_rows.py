"""Writes rows.parquet and rows.arrow: rows as pyarrow writes them, of the types that files of texts have. Needs `pip install pyarrow==26.0.1`.

    python tests/golden/make_rows.py"""

import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).parent
TEXTS = ["a small boat", "northern lights", None, "crème brûlée", "a small boat", "", "東京"]


def main():
    count = 5 * len(TEXTS)
    texts = [TEXTS[i % len(TEXTS)] for i in range(count)]
    noon = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.timezone.utc)
    table = pa.table({
        "id": pa.array(range(count), pa.int64()),
        "text": pa.array(texts).dictionary_encode(),
        "long": pa.array(texts, pa.large_string()),
        "when": pa.array([noon + datetime.timedelta(hours=i) for i in range(count)], pa.timestamp("us", "UTC")),
        "tags": pa.array([[f"tag {i % 3}"] * (i % 3) for i in range(count)], pa.list_(pa.string())),
        "score": pa.array([None if i % 5 == 0 else i / 4 for i in range(count)], pa.float32()),
        "place": pa.array([{"page": i, "title": f"page {i}"} for i in range(count)]),
    })
    pq.write_table(table, HERE / "rows.parquet", row_group_size=10, compression="zstd")
    with pa.ipc.new_file(HERE / "rows.arrow", table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as file:
        file.write_table(table, max_chunksize=10)


main()
