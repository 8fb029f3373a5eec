// The map's picture: points on a canvas, the title of the one under the pointer, and a line drawn around some of them. Knows places
// and colours, and no texts; the list beside it (`map-room.ts`) has all that this shows, for keyboards and screen readers. It is
// drawn by hand, and not by regl-scatterplot, because regl compiles its draw commands with `Function(…)`, which the page's policy
// (`script-src` in `index.html`) refuses.

import { element } from "./dom.js";

export interface Picture {
  /** `x, y, x, y, …`, in any unit. */
  places: Float32Array;
  /** The group of each point. */
  groups: ArrayLike<number>;
  title(point: number): string;
}

interface Point { x: number; y: number }

const HEIGHT = 440;
const MARGIN = 18;
/** How far from a point, in pixels, the pointer may be. */
const REACH = 12;
/** How far the pointer moves, in pixels, before a press is a line and no click. */
const SLACK = 5;

/** Hues a golden angle apart: neighbours differ for any number of groups. How light they are stands in `style.css`. */
export const hue = (group: number): string => String(Math.round(group * 137.5 + 170) % 360);

export function mapCanvas(actions: { open(point: number): void; select(points: number[]): void }) {
  const canvas = element("canvas", { role: "img" });
  const tip = element("p", { class: "map-tip", "aria-hidden": "true", hidden: true });
  const dots = document.createElement("canvas"); // all points, as they are without the pointer
  const frame = element("div", { class: "map" }, canvas, tip);
  let picture: Picture | null = null;
  let selected = new Set<number>();
  let near = -1;
  let line: Point[] = [];

  const width = () => canvas.clientWidth;

  /** Where each point is, in pixels, `y` upwards; both axes have one scale, since distances are what a map is about. */
  function placed(): Point[] {
    if (!picture) return [];
    const { places } = picture;
    const [low, high] = [[Infinity, Infinity], [-Infinity, -Infinity]] as [[number, number], [number, number]];
    places.forEach((value, at) => {
      low[at & 1] = Math.min(low[at & 1]!, value);
      high[at & 1] = Math.max(high[at & 1]!, value);
    });
    const scale = Math.min((width() - 2 * MARGIN) / (high[0] - low[0] || 1), (HEIGHT - 2 * MARGIN) / (high[1] - low[1] || 1));
    return Array.from({ length: places.length / 2 }, (_, point) => ({
      x: width() / 2 + scale * (places[2 * point]! - (low[0] + high[0]) / 2),
      y: HEIGHT / 2 - scale * (places[2 * point + 1]! - (low[1] + high[1]) / 2),
    }));
  }
  let points: Point[] = [];

  const radius = () => (points.length > 2000 ? 2 : points.length > 400 ? 3.5 : 5);

  function dot(pen: CanvasRenderingContext2D, point: number, size: number, shade: string): void {
    const { x, y } = points[point]!;
    pen.fillStyle = `hsl(${hue(picture!.groups[point]!)} ${shade})`;
    pen.beginPath();
    pen.arc(x, y, size, 0, 2 * Math.PI);
    pen.fill();
  }

  /** Draws all anew: the points go to `dots`, for thousands of them take longer than a frame. */
  function draw(): void {
    if (width() === 0) return; // the room is not shown
    const ratio = devicePixelRatio;
    dots.width = canvas.width = Math.round(width() * ratio);
    dots.height = canvas.height = Math.round(HEIGHT * ratio);
    points = placed();
    const pen = dots.getContext("2d")!;
    pen.scale(ratio, ratio);
    const shade = getComputedStyle(canvas).getPropertyValue("--dot");
    pen.globalAlpha = selected.size === 0 ? 0.85 : 0.25;
    for (const point of points.keys()) dot(pen, point, radius(), shade);
    pen.globalAlpha = 1;
    for (const point of selected) dot(pen, point, radius() + 1, shade);
    follow();
  }

  /** Draws what follows the pointer, on the points as they are. */
  function follow(): void {
    const pen = canvas.getContext("2d")!;
    const style = getComputedStyle(canvas);
    const ratio = canvas.width / (width() || 1); // that of the points: the screen's may have changed
    pen.resetTransform();
    pen.clearRect(0, 0, canvas.width, canvas.height);
    pen.drawImage(dots, 0, 0);
    pen.scale(ratio, ratio);
    pen.strokeStyle = style.color;
    pen.lineWidth = 2;
    if (near >= 0 && near < points.length) {
      dot(pen, near, radius() + 3, style.getPropertyValue("--dot"));
      pen.stroke();
    }
    if (line.length < 2) return;
    pen.beginPath();
    for (const { x, y } of line) pen.lineTo(x, y);
    pen.closePath();
    pen.stroke();
  }

  function pointTo(point: number): void {
    if (near !== point) {
      near = point;
      follow();
    }
    tip.hidden = near < 0;
    canvas.style.cursor = near < 0 ? "crosshair" : "pointer";
    if (near < 0) return;
    tip.textContent = picture!.title(near);
    const { x, y } = points[near]!;
    tip.style.left = `${Math.max(0, Math.min(x + 12, width() - tip.offsetWidth))}px`;
    tip.style.top = `${y > HEIGHT / 2 ? y - tip.offsetHeight - 12 : y + 12}px`;
  }

  function nearest({ offsetX, offsetY }: PointerEvent): number {
    let best = { point: -1, distance: REACH };
    points.forEach(({ x, y }, point) => {
      const distance = Math.hypot(x - offsetX, y - offsetY);
      if (distance < best.distance) best = { point, distance };
    });
    return best.point;
  }

  const drawn = () => line.some(({ x, y }) => Math.hypot(x - line[0]!.x, y - line[0]!.y) > SLACK);

  canvas.addEventListener("pointerdown", (event) => {
    if (!event.isPrimary || event.button !== 0) return;
    line = [{ x: event.offsetX, y: event.offsetY }];
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (line.length === 0) return pointTo(nearest(event));
    line.push({ x: event.offsetX, y: event.offsetY });
    if (!drawn()) return;
    pointTo(-1);
    follow();
  });
  canvas.addEventListener("pointerup", (event) => {
    if (line.length === 0) return;
    const around = drawn() ? line : null;
    line = [];
    const under = nearest(event);
    if (around) actions.select([...points.keys()].filter((point) => encloses(around, points[point]!)));
    else if (under >= 0) actions.open(under);
    else actions.select([]);
  });
  canvas.addEventListener("pointercancel", () => {
    line = [];
    follow();
  });
  canvas.addEventListener("pointerleave", () => pointTo(-1));
  new ResizeObserver(draw).observe(frame);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

  return {
    frame,

    show(next: Picture, label: string): void {
      picture = next;
      near = -1;
      line = [];
      tip.hidden = true;
      selected = new Set();
      canvas.setAttribute("aria-label", label);
      draw();
    },

    mark(points: readonly number[]): void {
      selected = new Set(points);
      draw();
    },
  };
}

/** Whether a point is inside a closed line: a ray from it crosses the line an odd number of times. */
export function encloses(line: readonly Point[], { x, y }: Point): boolean {
  return line.filter((from, at) => {
    const to = line[(at + 1) % line.length]!;
    return from.y > y !== to.y > y && x < from.x + ((to.x - from.x) * (y - from.y)) / (to.y - from.y);
  }).length % 2 === 1;
}
