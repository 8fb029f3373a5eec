"""Ray Data: a pool of actors, each with a process of `embedlet embed --ipc` that it keeps.

    python ray_embed.py MODEL IN OUT ACTORS

IN is a folder of Parquet with a column `text`, OUT becomes one with `embedding` beside it. Needs ray, pyarrow and, on every node,
embedlet in the PATH and the model's folder."""

import os
import subprocess
import sys

import pyarrow as pa
import ray


class Embed:
    def __init__(self, model, threads):
        command = ["embedlet", "embed", "--ipc", "--quiet", "--model", model]
        env = {**os.environ, "RAYON_NUM_THREADS": str(threads)}
        pipe = subprocess.PIPE
        self.child = subprocess.Popen(command, stdin=pipe, stdout=pipe, env=env)
        self.writer = self.reader = None

    def __call__(self, table):
        self.writer = self.writer or pa.ipc.new_stream(self.child.stdin, table.schema)
        found = []
        for batch in table.combine_chunks().to_batches():
            self.writer.write_batch(batch)
            self.child.stdin.flush()
            # A batch comes back, whole, before the next one is sent: neither pipe can be full at both ends.
            self.reader = self.reader or pa.ipc.open_stream(self.child.stdout)
            rows = 0
            while rows < batch.num_rows:
                found.append(self.reader.read_next_batch())
                rows += found[-1].num_rows
        return pa.Table.from_batches(found)


def main():
    model, source, out, actors = sys.argv[1:]
    threads = max(1, (os.cpu_count() or 1) // int(actors))
    table = ray.data.read_parquet(source)
    embedded = table.map_batches(
        Embed,
        fn_constructor_args=(model, threads),
        batch_format="pyarrow",
        batch_size=1024,
        compute=ray.data.ActorPoolStrategy(size=int(actors)),
        # What reads and writes the files needs cores of its own, or nothing begins.
        num_cpus=threads / 2,
    )
    embedded.write_parquet(out)


if __name__ == "__main__":
    main()
