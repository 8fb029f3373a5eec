"""Spark: every task pipes its rows through `embedlet embed --ipc`.

    spark-submit spark_embed.py MODEL IN OUT

IN is a folder of Parquet with a column `text`, OUT becomes one with `embedding` beside it. Needs pyspark, pyarrow and, on every
worker, embedlet in the PATH and the model's folder. A task has the model for itself, so `spark.task.cpus` says how many cores that
is."""

import os
import subprocess
import sys
import threading

import pyarrow as pa
from pyspark.sql import SparkSession
from pyspark.sql.types import ArrayType, FloatType, StructField, StructType


def embedder(model, threads):
    def embed(batches):
        first = next(batches, None)
        if first is None:
            return
        command = ["embedlet", "embed", "--ipc", "--quiet", "--model", model]
        env = {**os.environ, "RAYON_NUM_THREADS": threads}
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)

        def feed():
            try:
                with child.stdin, pa.ipc.new_stream(child.stdin, first.schema) as writer:
                    for batch in (first, *batches):
                        writer.write_batch(batch)
            except BrokenPipeError:
                pass  # What went wrong is in the exit status.

        feeder = threading.Thread(target=feed)
        feeder.start()
        try:
            with pa.ipc.open_stream(child.stdout) as reader:
                for batch in reader:
                    # Spark has lists of any length alone.
                    lists = batch["embedding"].cast(pa.list_(pa.float32()))
                    yield batch.set_column(batch.num_columns - 1, "embedding", lists)
        finally:
            child.stdout.close()
            feeder.join()
            if child.wait():
                raise RuntimeError(f"embedlet ended with {child.returncode}: its message is in the task's stderr")

    return embed


def main():
    model, source, out = sys.argv[1:]
    spark = SparkSession.builder.appName("embed").getOrCreate()
    threads = spark.conf.get("spark.task.cpus", "1")
    table = spark.read.parquet(source)
    schema = StructType([*table.schema.fields, StructField("embedding", ArrayType(FloatType()))])
    table.mapInArrow(embedder(model, threads), schema).write.mode("overwrite").parquet(out)


if __name__ == "__main__":
    main()
