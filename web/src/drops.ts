// Files and text that are dropped anywhere on the page, except text over a field, where the browser puts it in. Says what was dropped; it
// reads nothing.

export interface Dropped { files: File[]; text: string }

export function acceptDrops(take: (dropped: Dropped) => void): void {
  const isForField = (event: DragEvent) =>
    (event.target as Element).matches?.("input, textarea") && !event.dataTransfer?.types.includes("Files");
  const mark = (over: boolean) => document.getElementById("drop")?.classList.toggle("over", over);
  document.addEventListener("dragover", (event) => {
    if (isForField(event)) return;
    event.preventDefault();
    mark(true);
  });
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) mark(false);
  });
  document.addEventListener("drop", (event) => {
    mark(false);
    const data = event.dataTransfer;
    if (!data || isForField(event)) return;
    event.preventDefault();
    const dropped = { files: [...data.files], text: data.getData("text/plain") };
    if (dropped.files.length > 0 || dropped.text.trim() !== "") take(dropped);
  });
}
