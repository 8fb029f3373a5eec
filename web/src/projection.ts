// Principal components: the two directions in which vectors differ most, and where each vector lies along them. Plain arithmetic;
// nothing here touches the page.

export interface Rows { data: Float32Array; dimensions: number }

/** Two directions of many dimensions are known well from so many vectors. */
const SAMPLE = 4000;
const ITERATIONS = 200;
/** Sine of the angle by which a direction may still turn in the last iteration. */
const TOLERANCE = 1e-5;

/**
 * Every row's place along the first two principal components, `x, y, x, y, …`. Orthogonal iteration from fixed directions, so the same
 * rows give the same places. Where rows differ in fewer than two directions, the others are zero.
 */
export async function project({ data, dimensions }: Rows, signal: AbortSignal): Promise<Float32Array> {
  const count = data.length / dimensions;
  const step = Math.max(1, Math.ceil(count / SAMPLE));
  const mean = new Float64Array(dimensions);
  for (let at = 0; at < data.length; at++) mean[at % dimensions]! += data[at]! / count;

  const along = (row: number, direction: Float64Array) => {
    let sum = 0;
    for (let c = 0; c < dimensions; c++) sum += (data[row * dimensions + c]! - mean[c]!) * direction[c]!;
    return sum;
  };
  /** The covariance of the sampled rows times a direction, but for its scale. */
  const turned = (direction: Float64Array) => {
    const sums = new Float64Array(dimensions);
    for (let row = 0; row < count; row += step) {
      const weight = along(row, direction);
      for (let c = 0; c < dimensions; c++) sums[c]! += weight * (data[row * dimensions + c]! - mean[c]!);
    }
    return sums;
  };

  let axes = [0, 1].map((axis) => unit(Float64Array.from({ length: dimensions }, (_, c) => Math.sin((c + 1) * (axis + 1.3)))));
  for (let iteration = 0; iteration < ITERATIONS; iteration++) {
    await new Promise((resolve) => setTimeout(resolve)); // the page stays alive meanwhile
    signal.throwIfAborted();
    const [first, second] = axes.map(turned) as [Float64Array, Float64Array];
    const next = [unit(first), unit(without(second, unit(first)))];
    const turn = Math.max(...next.map((axis, at) => Math.sqrt(Math.max(0, 1 - dot(axis, axes[at]!) ** 2)) * Math.hypot(...axis)));
    axes = next;
    if (turn < TOLERANCE) break;
  }
  return Float32Array.from({ length: 2 * count }, (_, at) => along(at >> 1, axes[at & 1]!));
}

function dot(a: Float64Array, b: Float64Array): number {
  return a.reduce((sum, value, c) => sum + value * b[c]!, 0);
}

function without(vector: Float64Array, axis: Float64Array): Float64Array {
  const share = dot(vector, axis);
  const rest = vector.map((value, c) => value - share * axis[c]!);
  // What rounding leaves of a vector that is the axis itself has no direction.
  return Math.sqrt(dot(rest, rest)) > 1e-9 * Math.sqrt(dot(vector, vector)) ? rest : rest.fill(0);
}

/** Of length 1, with its largest component positive; zeros stay zeros. */
function unit(vector: Float64Array): Float64Array {
  const largest = vector.reduce((best, value) => (Math.abs(value) > Math.abs(best) ? value : best), 0);
  const length = Math.sqrt(dot(vector, vector)) * (largest < 0 ? -1 : 1);
  return length === 0 ? vector : vector.map((value) => value / length);
}
