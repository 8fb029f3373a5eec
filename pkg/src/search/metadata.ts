// What metadata may be, and which documents a filter lets through. Keys are looked up as own properties alone, so that no name means
// anything else.

import { invalid } from "../arguments.js";
import type { Condition, Filter, Metadata, Scalar } from "./types.js";

const MOST_NESTED = 16;

/** What is wrong with metadata; undefined where nothing is. */
export function checkMetadata(metadata: unknown): string | undefined {
  if (metadata === null) return undefined;
  return isObject(metadata) ? checkJson(metadata, 1) : "must be an object";
}

function checkJson(value: unknown, depth: number): string | undefined {
  if (value === null || typeof value === "string" || typeof value === "boolean") return undefined;
  if (typeof value === "number") return Number.isFinite(value) ? undefined : `has the number ${value}, which JSON cannot hold`;
  if (!Array.isArray(value) && !isObject(value)) return "has a value that JSON cannot hold: write a date as a text or a number";
  if (depth > MOST_NESTED) return `is nested deeper than ${MOST_NESTED} levels`;
  for (const part of Array.isArray(value) ? value : Object.values(value)) {
    const wrong = checkJson(part, depth + 1);
    if (wrong !== undefined) return wrong;
  }
  return undefined;
}

function isObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  // An object of another realm has another Object.prototype, which in its turn has none.
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

type Test = (value: unknown) => boolean;
export type Predicate = (metadata: Metadata | null) => boolean;

/** A filter as a function, its operators known and its operands checked. */
export function compileFilter(filter: Filter, depth = 1): Predicate {
  if (!isObject(filter)) throw invalid("A filter must be an object.");
  if (depth > MOST_NESTED) throw invalid(`A filter may be nested ${MOST_NESTED} levels deep.`);
  const inner = (name: string, list: unknown) => {
    if (!Array.isArray(list)) throw invalid(`\`${name}\` takes an array of filters.`);
    return list.map((one) => compileFilter(one as Filter, depth + 1));
  };
  const all = Object.entries(filter).map(([key, operand]): Predicate => {
    if (key === "$and") {
      const every = inner(key, operand);
      return (metadata) => every.every((holds) => holds(metadata));
    }
    if (key === "$or") {
      const some = inner(key, operand);
      return (metadata) => some.some((holds) => holds(metadata));
    }
    if (key === "$not") {
      const not = compileFilter(operand as Filter, depth + 1);
      return (metadata) => !not(metadata);
    }
    if (key.startsWith("$")) throw invalid(`A filter has no operator "${key}" here; it has $and, $or, $not.`);
    const test = compileCondition(key, operand as Condition, depth);
    return (metadata) => test(metadata !== null && Object.hasOwn(metadata, key) ? metadata[key] : undefined);
  });
  return (metadata) => all.every((holds) => holds(metadata));
}

const OPERATORS = ["$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$exists", "$not"] as const;

function compileCondition(key: string, condition: Condition, depth: number): Test {
  if (!isObject(condition)) return equals(scalar(key, condition));
  if (depth > MOST_NESTED) throw invalid(`A filter may be nested ${MOST_NESTED} levels deep.`);
  if (Object.keys(condition).length === 0) throw invalid(`The condition of "${key}" is empty.`);
  const tests = Object.entries(condition).map(([name, operand]): Test => {
    const operator = OPERATORS.find((one) => one === name);
    switch (operator) {
      case "$eq":
        return equals(scalar(key, operand));
      case "$ne":
        return not(equals(scalar(key, operand)));
      case "$gt":
        return ordered(key, operand, (a, b) => a > b);
      case "$gte":
        return ordered(key, operand, (a, b) => a >= b);
      case "$lt":
        return ordered(key, operand, (a, b) => a < b);
      case "$lte":
        return ordered(key, operand, (a, b) => a <= b);
      case "$in":
        return among(key, operand);
      case "$nin":
        return not(among(key, operand));
      case "$exists":
        if (typeof operand !== "boolean") throw invalid(`\`$exists\` of "${key}" must be true or false.`);
        return (value) => (value !== undefined) === operand;
      case "$not":
        return not(compileCondition(key, operand as Condition, depth + 1));
      default:
        throw invalid(`A filter has no operator "${name}"; of a key it has ${OPERATORS.join(", ")}.`);
    }
  });
  return (value) => tests.every((test) => test(value));
}

function scalar(key: string, operand: unknown): Scalar {
  if (operand === null || typeof operand === "string" || typeof operand === "boolean" || Number.isFinite(operand)) return operand as Scalar;
  throw invalid(`"${key}" is compared with a text, a number, true, false or null.`);
}

const not = (test: Test): Test => (value) => !test(value);
const equals = (operand: Scalar): Test => (value) => anyOf(value, (one) => (one ?? null) === operand);

function among(key: string, operand: unknown): Test {
  if (!Array.isArray(operand)) throw invalid(`\`$in\` and \`$nin\` of "${key}" take an array.`);
  const set = new Set<unknown>(operand.map((one) => scalar(key, one)));
  return (value) => anyOf(value, (one) => set.has(one ?? null));
}

function ordered(key: string, operand: unknown, holds: (value: string | number, operand: string | number) => boolean): Test {
  if (typeof operand !== "string" && !Number.isFinite(operand)) throw invalid(`"${key}" is ordered against a text or a number.`);
  const bound = operand as string | number;
  return (value) => anyOf(value, (one) => typeof one === typeof bound && holds(one as string | number, bound));
}

function anyOf(value: unknown, test: Test): boolean {
  return Array.isArray(value) ? value.some(test) : test(value);
}
