// Samples -> medians, ratios and the tables that show them, as Markdown.

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

const lowest = (values) => Math.min(...values);
const highest = (values) => Math.max(...values);

/** Three digits that count. */
export function number(value) {
  if (!Number.isFinite(value)) return "";
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value) || 1)));
  return value.toFixed(Math.min(digits, 2));
}

const spread = (values) => (values.length > 1 ? `${number(median(values))} (${number(lowest(values))}–${number(highest(values))})` : number(values[0]));

/** A Markdown table whose columns line up, of rows of strings; the first row is the head. */
export function table(rows) {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => [...row[column]].length)));
  const line = (row) => `| ${row.map((text, column) => text + " ".repeat(widths[column] - [...text].length)).join(" | ")} |`;
  const [head, ...rest] = rows;
  return [line(head), `|${widths.map((width) => "-".repeat(width + 2)).join("|")}|`, ...rest.map(line)].join("\n");
}

/**
 * What a sample list says. `over`: a call was given up after so many milliseconds; `fewer`: the budget was spent before all rounds
 * were run.
 */
function shown({ samples = [], over, fewer } = {}, show = spread) {
  if (over) return `> ${number(over)}`;
  return samples.length ? show(samples) + (fewer ? "*" : "") : "";
}

/** How many times longer `peer` takes than `own`, round by round: the rounds stand side by side. */
function ratio(peer, own) {
  if (!peer || !own?.samples?.length) return "";
  if (peer.over) return `> ${number(peer.over / median(own.samples))}`;
  const pairs = Math.min(peer.samples.length, own.samples.length);
  if (!pairs) return "";
  return spread(Array.from({ length: pairs }, (_, i) => peer.samples[i] / own.samples[i])) + (peer.fewer || own.fewer ? "*" : "");
}

/** The tables of a result as `run.mjs` and `native.mjs` write it. */
export function tables({ cells, contenders }) {
  const timed = cells.filter(({ name }) => contenders.some(({ results }) => results[name]));
  const work = timed.filter(({ tokens }) => tokens);
  const head = (first, list) => [first, ...list.map(({ name }) => name)];
  const rows = (list, make) => contenders.map((contender) => [contender.name, ...list.map((cell) => make(contender.results[cell.name], cell))]);
  const out = [];
  const add = (title, list) => out.push(`**${title}**`, table(list));
  const rate = (count) => (result, cell) => shown(result, (samples) => number((1000 * cell[count]) / median(samples)));

  add("Milliseconds: median (lowest–highest)", [head("", timed), ...rows(timed, (result) => shown(result))]);
  if (work.length) {
    const all = (result, cell) => [rate("texts")(result, cell), rate("tokens")(result, cell)].join(" · ").replace(/^ · $|^(>.*) · .*/, "");
    add("Texts a second · tokens a second", [head("", work), ...rows(work, all)]);
  }
  const pairs = contenders.flatMap((peer) => {
    const own = contenders.find(({ name }) => name === peer.against);
    return own ? [[`${peer.name} / ${own.name}`, ...timed.map(({ name }) => ratio(peer.results[name], own.results[name]))]] : [];
  });
  if (pairs.length) add("Ratio of the times: how many times faster embedlet is", [head("", timed), ...pairs]);
  const facts = [...new Set(contenders.flatMap(({ facts }) => Object.keys(facts ?? {})))];
  if (facts.length) add("Beside time", [["", ...facts], ...contenders.map(({ name, facts: own = {} }) => [name, ...facts.map((fact) => own[fact] ?? "")])]);
  return out.join("\n\n");
}
