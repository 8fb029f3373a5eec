// Writes `glosses.json`, the page's second collection: 2,000 familiar words, each with what WordNet says of it. `glosses.txt` has the
// words, by kind; of each the first sense is taken, which is the one counted most often in tagged texts, among those in the kind's
// lexicographer files, or the sense with the number that stands behind the word. The same files in, the same file out.
//
//   apt-get install wordnet-base && node glosses.mjs [--wordnet /usr/share/wordnet]

import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const here = dirname(fileURLToPath(import.meta.url));
const { values } = parseArgs({ options: { wordnet: { type: "string", default: "/usr/share/wordnet" } } });

/** WordNet 3.0 as wordnet-base 1:3.0-37 of Debian has it. */
const FILES = {
  "data.noun": "fea17d2f9656611334eac790e5d69e47645fa180c4aa481fb4cd9b3520754ca2",
  "index.noun": "a490d99d93d017bf4822fe2f0ffa51fd73911ce271dc7535fade21f8814b5a04",
  "data.verb": "adcf43e35b581e8036d8b5a52d63d9cd3d3b4870b2720d3c03c799df44777bc2",
  "index.verb": "e2ac24816c3a8289dcb72aaa9cf8db81fdf25ec34d792bfc96ac5b7a20c8b4ae",
  "data.adj": "c89120dfc1f046ddff4a631bf9b7e9fa1a36b5e86565a23bf82dbe14f30b88a7",
  "index.adj": "c9865d7b4d1f805bdef82ccdcea5282436e23083e6f6f1b33e716327c4eda810",
};
/** By their number in the data. */
const LEXICOGRAPHER_FILES = `adj.all adj.pert adv.all noun.Tops noun.act noun.animal noun.artifact noun.attribute noun.body noun.cognition
  noun.communication noun.event noun.feeling noun.food noun.group noun.location noun.motive noun.object noun.person noun.phenomenon noun.plant
  noun.possession noun.process noun.quantity noun.relation noun.shape noun.state noun.substance noun.time verb.body verb.change verb.cognition
  verb.communication verb.competition verb.consumption verb.contact verb.creation verb.emotion verb.motion verb.perception verb.possession
  verb.social verb.stative verb.weather adj.ppl`.split(/\s+/);
const [WORDS, SHORTEST, LONGEST] = [2000, 20, 200];
/** No text for everybody speaks of these; the words were read through besides. */
const UNWANTED = new RegExp(`\\b(${["sex\\b", "intercourse", "genital", "penis", "vagina", "excre(?!t)", "feces", "urine", "slur", "offensive name", "disparag",
  "obscene", "drugs?\\b", "narcotic", "amphetamine", "heroin", "cocaine", "kill", "murder", "suicide", "execut(?!ive)", "behead", "stab(bing)?\\b", "slave",
  "nazi", "eskimo", "oriental", "negro"].join("|")})`, "i");

const [nouns, verbs, adjectives] = ["noun", "verb", "adj"].map(senses);
const found = words().map(({ word, sense, kind, files }) => {
  const known = { verb: verbs, adjective: adjectives }[kind] ?? nouns;
  const all = known.get(word.toLowerCase()) ?? [];
  const one = sense ? all[sense - 1] : all.find(({ file }) => files.some((wanted) => `${file}.`.startsWith(`${wanted}.`)));
  if (!one) throw new Error(`${word}: WordNet has no such sense.`);
  return { title: word.replaceAll("_", " "), text: sentence(one.gloss), kind };
});
for (const { title, text } of found) {
  if (text.length < SHORTEST || text.length > LONGEST || UNWANTED.test(text)) throw new Error(`${title}: ${text}`);
}
for (const key of ["title", "text"]) {
  const twice = found.filter((one, at) => found.findIndex((other) => other[key] === one[key]) < at);
  if (twice.length > 0) throw new Error(`twice: ${twice.map(({ title }) => title).join(", ")}`);
}
if (found.length !== WORDS) throw new Error(`${found.length} words`);
writeFileSync(join(here, "glosses.json"), `[\n${found.map((one) => `  ${JSON.stringify(one)}`).join(",\n")}\n]\n`);

/** A line of kind and lexicographer files, then one of words, and so on. */
function words() {
  const lines = readFileSync(join(here, "glosses.txt"), "utf8").trim().split("\n");
  return lines.flatMap((line, at) => {
    if (at % 2 === 1) return [];
    const [kind, files] = line.split(" ");
    return lines[at + 1].split(" ").map((entry) => {
      const [word, sense] = entry.split(":");
      return { word, sense: Number(sense ?? 0), kind, files: files.split(",") };
    });
  });
}

/** The senses of every word of a part of speech, in WordNet's order. */
function senses(part) {
  const [data, index] = ["data", "index"].map((file) => read(`${file}.${part}`));
  const entries = index.toString("latin1").split("\n").filter((line) => line !== "" && !line.startsWith(" ")).map((line) => {
    const fields = line.trim().split(/ +/);
    return [fields[0], fields.slice(-Number(fields[2])).map((offset) => {
      const at = Number(offset);
      const [head, gloss] = data.toString("latin1", at, data.indexOf("\n", at)).split(" | ");
      return { file: LEXICOGRAPHER_FILES[Number(head.split(" ")[1])], gloss };
    })];
  });
  return new Map(entries);
}

function read(file) {
  const bytes = readFileSync(join(values.wordnet, file));
  const hash = createHash("sha256").update(bytes).digest("hex");
  if (hash !== FILES[file]) throw new Error(`${file} is not that of WordNet 3.0: ${hash}`);
  return bytes;
}

/** A gloss without its examples and the field of knowledge in front, as a sentence; of a long one the parts that fit. */
function sentence(gloss) {
  const plain = gloss.split(/[;:]? ?(?=")/)[0].replace(/^(\([^)]*\) *)+/, "").replace(/`([^']*)'/g, "“$1”").replace(/\s+/g, " ").trim();
  const whole = plain.replace(/[;:,]? *$/, "");
  const short = whole.length < LONGEST ? whole : whole.slice(0, whole.lastIndexOf("; ", LONGEST - 1));
  return `${short[0].toUpperCase()}${short.slice(1)}${short.endsWith(".") ? "" : "."}`;
}
