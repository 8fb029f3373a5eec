// Writes docs/api/: a page for every entry of the package that exports something, from the types of src/ and their comments, and a list of
// the pages. `npm run docs` writes; a test compares. What a name means is said at its declaration and nowhere here. The compiler calls this
// interface of its own unstable; the lock file has its exact version.

import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { fileURLToPath, pathToFileURL } from "node:url";
import { SyntaxKind } from "typescript/unstable/ast";
import { API, ModifierFlags, SymbolFlags } from "typescript/unstable/sync";

const here = fileURLToPath(new URL(".", import.meta.url));
export const OUT = fileURLToPath(new URL("../docs/api/", import.meta.url));

/** The pages, text by file name. */
export async function reference() {
  const { exports } = JSON.parse(await readFile(`${here}package.json`, "utf8"));
  const api = new API({ cwd: here });
  try {
    const [project] = api.updateSnapshot({ openProject: `${here}tsconfig.json` }).getProjects();
    const entries = [];
    for (const [path, { types }] of Object.entries(exports)) {
      if (types) entries.push(await entryOf(project, path, `${here}${types.replace("./dist", "src").replace(".d.ts", ".ts")}`));
    }
    return new Writer(project.checker, entries).pages();
  } finally {
    api.close();
  }
}

/** An entry: what it is imported by, its header comment, and the symbols that it exports. */
async function entryOf({ program, checker }, path, file) {
  const source = program.getSourceFile(file);
  const [, header] = /^((?:\/\/ .*\n)+)/m.exec(await readFile(file, "utf8"));
  const about = header.replace(/^\/\/ /gm, "").trim().replace(/\n/g, " ");
  const target = (symbol) => (symbol.flags & SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol);
  const symbols = checker.getExportsOfModule(checker.getSymbolAtLocation(source)).map(target);
  const name = path === "." ? "embedlet" : `embedlet${path.slice(1)}`;
  return { name, file, page: `${name.split("/").at(-1)}.md`, about, symbols };
}

const isPart = (node) => node.kind === SyntaxKind.MethodDeclaration || node.kind === SyntaxKind.MethodSignature;
const isNamed = (node) => [SyntaxKind.TypeReference, SyntaxKind.ExpressionWithTypeArguments].includes(node.kind);
const isType = ({ kind }) => kind === SyntaxKind.InterfaceDeclaration || kind === SyntaxKind.TypeAliasDeclaration;
const isOwn = (node) => node.getSourceFile().fileName.startsWith(`${here}src`);
const idOf = (symbol) => `${symbol.declarations[0].path}:${symbol.name}`;

class Writer {
  /** Where each public name has its heading, by declaration. */
  homes = new Map();

  constructor(checker, entries) {
    this.checker = checker;
    this.entries = entries;
    for (const { page, symbols } of entries) {
      for (const symbol of symbols) {
        const home = { page, heading: symbol.name };
        if (!this.homes.has(idOf(symbol))) this.homes.set(idOf(symbol), home);
        // An entry's own class in the place of the one that it extends.
        const base = symbol.flags & SymbolFlags.Class && this.checker.getBaseTypes(this.checker.getDeclaredTypeOfSymbol(symbol))[0]?.getSymbol();
        if (base?.name === symbol.name && !this.homes.has(idOf(base))) this.homes.set(idOf(base), home);
      }
    }
    for (const entry of entries) {
      entry.parts = this.partsOf(entry);
      // Names that differ in case alone have one anchor, but for a number.
      const counts = {};
      for (const { symbol } of entry.parts.flatMap(([, list]) => list)) {
        const slug = symbol.name.toLowerCase();
        const before = (counts[slug] = (counts[slug] ?? -1) + 1);
        this.homes.get(idOf(symbol)).anchor = before === 0 ? slug : `${slug}-${before}`;
      }
    }
  }

  /** What an entry's page has a section of, by its parts: what can be called, and types. */
  partsOf({ file, page, symbols }) {
    const fileOf = ({ node }) => node.getSourceFile().fileName;
    const nodes = symbols.filter((symbol) => this.homes.get(idOf(symbol)).page === page).map((symbol) => ({ symbol, node: nodesOf(symbol)[0] }));
    // What an entry makes itself comes first, then what has most of its types.
    const weight = (one) => {
      if (fileOf(one) === file) return nodes.length;
      return isType(one.node) ? nodes.filter((other) => fileOf(other) === fileOf(one)).length : 0;
    };
    const order = nodes.sort((a, b) => weight(b) - weight(a));
    const parts = [
      ["Functions and classes", order.filter(({ node }) => !isType(node))],
      ["Types", order.filter(({ node }) => isType(node))],
    ];
    return parts.filter(([, list]) => list.length > 0);
  }

  pages() {
    const [main] = this.entries;
    const known = new Set(main.symbols.map(({ name }) => name));
    const pages = {};
    const lines = this.entries.map((entry) => {
      const own = entry === main || entry.symbols.some(({ name }) => !known.has(name));
      if (own) pages[entry.page] = this.page(entry);
      const same = !own && entry.symbols.length > 0 ? " Exports what `embedlet` exports." : "";
      return `| ${own ? `[\`${entry.name}\`](${entry.page})` : `\`${entry.name}\``} | ${entry.about}${same} |\n`;
    });
    const about = "Every public name, from its declaration; the [guides](../README.md) show their use.";
    pages["README.md"] = `${NOTE}# Reference\n\n${about}\n\n| entry | |\n|---|---|\n${lines.join("")}`;
    return pages;
  }

  page({ name, page, about, symbols, parts }) {
    const home = (symbol) => this.homes.get(idOf(symbol));
    const others = symbols.filter((symbol) => home(symbol).page !== page).map((symbol) => this.link(home(symbol), page));
    const contents = parts.map(([heading, list]) => `${heading}: ${list.map(({ symbol }) => this.link(home(symbol), page)).join(" · ")}\n`);
    const also = others.length > 0 ? [`Also exported: ${others.join(" · ")}\n`] : [];
    const body = parts.flatMap(([heading, list]) => [`## ${heading}\n`, ...list.map(({ symbol, node }) => this.section(symbol, node, page))]);
    return `${NOTE}# ${name}\n\n${about}\n\n${[...contents, ...also, ...body].join("\n")}`;
  }

  section(symbol, node, page) {
    const head = `### ${symbol.name}\n\n`;
    if (node.kind === SyntaxKind.FunctionDeclaration) return head + this.call(symbol, page);
    const about = this.prose(docOf(node), page);
    if (!about) throw new Error(`${symbol.name} on ${page} has no comment`);
    const open = `${head}${about}\n\n`;
    if (node.kind === SyntaxKind.TypeAliasDeclaration) return `${open}${this.code([node], page)}`;
    return open + this.members(symbol, node, page);
  }

  /** Of a class or an interface: what can be read of it as a table, and below what can be called. */
  members(symbol, node, page) {
    const { checker } = this;
    const isClass = node.kind === SyntaxKind.ClassDeclaration;
    const instance = symbol.name[0].toLowerCase() + symbol.name.slice(1);
    const all = checker.getPropertiesOfType(checker.getDeclaredTypeOfSymbol(symbol)).map((member) => [instance, member]);
    if (isClass) all.unshift(...checker.getPropertiesOfType(checker.getTypeOfSymbol(symbol)).map((member) => [symbol.name, member]));
    const rows = [];
    const calls = [];
    for (const [owner, member] of all) {
      // What the language and its library declare has no place here.
      const [first] = nodesOf(member).filter(isOwn);
      if (!first || member.name.startsWith("#") || hidden(first)) continue;
      const label = `${owner}.${member.name}`.replace(/\.__@(\w+)@\d+$/, "[Symbol.$1]");
      if (isPart(first)) calls.push(`#### ${label}\n\n${this.call(member, page)}`);
      else {
        // An object of functions that names no type.
        const parts = first.type ? [] : checker.getPropertiesOfType(checker.getTypeOfSymbol(member)).filter((part) => nodesOf(part).every(isOwn));
        calls.push(...parts.map((part) => `#### ${label}.${part.name}\n\n${this.call(part, page)}`));
        if (parts.length === 0) rows.push(this.row(first, member, page));
      }
    }
    const made = isClass ? node.members.filter((member) => member.kind === SyntaxKind.Constructor && !hidden(member)) : [];
    if (made.length > 0) calls.unshift(`#### new ${symbol.name}\n\n${this.code(made, page)}`);
    const table = rows.length > 0 ? [`| property | type | |\n|---|---|---|\n${rows.join("")}`] : [];
    return [...table, ...calls].join("\n");
  }

  row(node, symbol, page) {
    const mark = [node.postfixToken, node.questionToken].some((token) => token?.kind === SyntaxKind.QuestionToken) ? "?" : "";
    const spans = node.type ? this.spans(node.type, page) : [{ text: this.checker.typeToString(this.checker.getTypeOfSymbol(symbol)) }];
    const type = spans.map(({ text, target }) => {
      const code = `\`${text.replaceAll("|", "\\|").replace(/\s+/g, " ").trim()}\``;
      return target ? `[${code}](${target})` : code;
    });
    const about = this.prose(docOf(node), page).replace(/\n+ - /g, "<br>").replace(/\s*\n\s*/g, " ").replaceAll("|", "\\|");
    return `| \`${symbol.name}${mark}\` | ${type.join(" ")} | ${about} |\n`;
  }

  /** A function or method: its signatures and what is said of them. */
  call(symbol, page) {
    const nodes = nodesOf(symbol);
    const signatures = nodes.length > 1 ? nodes.filter(({ body }) => !body) : nodes;
    const about = nodes.map(docOf).find((text) => text) ?? "";
    if (!about) throw new Error(`${symbol.name} in ${nodes[0].getSourceFile().fileName} has no comment`);
    return `${this.code(signatures, page)}\n${this.prose(about, page)}\n`;
  }

  /** Declarations as code, and below it links to what they name. */
  code(nodes, page) {
    const targets = new Map();
    const texts = nodes.map((node) => {
      const spans = this.spans(node, page);
      for (const { text, target } of spans) if (target) targets.set(text, target);
      return spans.map(({ text }) => text).join("").replace(/^export /, "").replace(/^(declare |async |readonly |static |override )+/, "").trimEnd();
    });
    const own = nodes[0].name?.text;
    const links = [...targets].filter(([text]) => text !== own).map(([text, target]) => `[\`${text}\`](${target})`);
    return `\`\`\`ts\n${texts.join("\n")}\n\`\`\`\n${links.length > 0 ? `\n${links.join(" · ")}\n` : ""}`;
  }

  /** The text of a node without bodies, values and comments; public names with their links, other aliases as what they stand for. */
  spans(node, page) {
    const file = node.getSourceFile();
    const cut = [];
    const visit = (child) => {
      if (isNamed(child)) {
        const name = child.typeName ?? child.expression;
        const symbol = this.checker.getSymbolAtLocation(name);
        const found = symbol && (symbol.flags & SymbolFlags.Alias ? this.checker.getAliasedSymbol(symbol) : symbol);
        const home = found?.declarations.length > 0 && this.homes.get(idOf(found));
        const [start, end] = [name.getStart(file), name.end];
        if (home) cut.push({ start, end, spans: [{ text: home.heading, target: this.address(home, page) }] });
        else if (this.isInner(found)) return void cut.push({ start, end: child.end, spans: this.spans(nodesOf(found)[0].type, page) });
      }
      if (child.initializer && child.kind === SyntaxKind.Parameter) {
        // A value that is left out can be left out.
        const name = child.name.getText(file);
        const inferred = child.type ? "" : `: ${this.checker.typeToString(this.checker.getTypeAtLocation(child))}`;
        const text = child.name.kind === SyntaxKind.Identifier ? `${name}?${inferred}` : `options?${inferred}`;
        cut.push({ start: child.getStart(file), end: child.name.end, spans: [{ text }] });
        cut.push({ start: child.type?.end ?? child.name.end, end: child.end, spans: [] });
        if (child.type) visit(child.type);
        return;
      }
      child.forEachChild(visit);
    };
    node.forEachChild(visit);
    if (isNamed(node)) visit(node);
    if (node.body) cut.push({ start: node.body.getStart(file), end: node.end, spans: [] });
    const spans = [];
    let at = node.getStart(file);
    for (const { start, end, spans: inner } of cut.sort((a, b) => a.start - b.start)) {
      if (start < at) continue;
      spans.push({ text: file.text.slice(at, start) }, ...inner);
      at = end;
    }
    spans.push({ text: file.text.slice(at, node.end) });
    spans.at(-1).text = spans.at(-1).text.trimEnd().replace(/;$/, "");
    return spans.filter(({ text }) => text !== "");
  }

  isInner(symbol) {
    const [node] = symbol?.declarations.length > 0 ? nodesOf(symbol) : [];
    return node?.kind === SyntaxKind.TypeAliasDeclaration && isOwn(node);
  }

  prose(text, page) {
    return text.replace(/\{@link (\w+)(?:\.\w+)?\}/g, (_, name) => {
      const home = [...this.homes.values()].find(({ heading }) => heading === name);
      if (!home) throw new Error(`{@link ${name}} leads nowhere`);
      return this.link(home, page);
    });
  }

  address({ page, anchor }, from) {
    return `${page === from ? "" : page}#${anchor}`;
  }

  link(home, from) {
    return `[\`${home.heading}\`](${this.address(home, from)})`;
  }
}

function nodesOf(symbol) {
  return symbol.declarations.map((handle) => handle.resolve()).filter((node) => node);
}

function hidden(node) {
  const isPrivate = node.name?.kind === SyntaxKind.PrivateIdentifier || Boolean(node.modifierFlags & ModifierFlags.Private);
  return isPrivate || docsOf(node).includes("@internal");
}

function docsOf(node) {
  return node.jsDoc?.at(-1)?.getText(node.getSourceFile()) ?? "";
}

/** The comment of a declaration, without its frame. */
function docOf(node) {
  return docsOf(node).replace(/^\/\*\*|\*\/$/g, "").split("\n").map((line) => line.replace(/^\s*\* ?/, "")).join("\n").trim();
}

const NOTE = "<!-- Written by `npm run docs` in pkg/, from the declarations in pkg/src. -->\n\n";

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const pages = await reference();
  await rm(OUT, { recursive: true, force: true });
  await mkdir(OUT);
  for (const [name, text] of Object.entries(pages)) await writeFile(`${OUT}${name}`, text);
}
