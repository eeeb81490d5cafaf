// SPDX-License-Identifier: Apache-2.0

// A picture of who talks to whom: callers left of those they call. Pure layout first, then SVG.

import { s } from "./dom.js";

const box = { height: 24, across: 44, down: 10, margin: 8, narrow: 64, wide: 150, letter: 6.3 };
// Letters of a name that fit the widest box.
const letters = Math.floor((box.wide - 16) / box.letter);
// More than so many workloads are no picture but a tangle; those with the most connections are drawn.
export const drawn = 24;

// layout puts nodes into columns so that edges go to the right wherever the calls allow it.
// edges: [{from, to, ...}]; label(name) is what a box says. The result has the nodes by name and the size.
export function layout(edges, label) {
  const weight = new Map();
  for (const e of edges) for (const end of [e.from, e.to]) weight.set(end, (weight.get(end) ?? 0) + 1);
  const names = [...weight.keys()].sort((a, b) => weight.get(b) - weight.get(a) || (a < b ? -1 : 1)).slice(0, drawn);
  const chosen = new Set(names);
  const inside = edges.filter((e) => chosen.has(e.from) && chosen.has(e.to));

  const column = columns(names, inside);
  const stacks = [];
  for (const name of names) (stacks[column.get(name)] ??= []).push(name);
  const filled = stacks.filter(Boolean);
  settle(filled, inside);

  const nodes = new Map();
  const tallest = Math.max(1, ...filled.map((stack) => stack.length));
  const height = tallest * (box.height + box.down) - box.down + 2 * box.margin;
  let x = box.margin;
  filled.forEach((stack) => {
    const top = (height - (stack.length * (box.height + box.down) - box.down)) / 2;
    const texts = stack.map((name) => short(label(name)));
    const width = Math.max(box.narrow, ...texts.map((text) => [...text].length * box.letter + 16));
    stack.forEach((name, i) => nodes.set(name, { name, text: texts[i], x, y: top + i * (box.height + box.down), width }));
    x += width + box.across;
  });
  return { nodes, edges: inside, width: x - box.across + box.margin, height, left: weight.size - names.length };
}

// columns gives each node the length of the longest way to it that does not run in a circle.
function columns(names, edges) {
  const calls = new Map(names.map((n) => [n, []]));
  const called = new Map(names.map((n) => [n, 0]));
  for (const e of edges) {
    if (e.from === e.to) continue;
    calls.get(e.from).push(e.to);
    called.set(e.to, called.get(e.to) + 1);
  }
  const column = new Map();
  const visiting = new Set();
  const visit = (name, depth) => {
    if (visiting.has(name) || (column.get(name) ?? -1) >= depth || depth > names.length) return;
    column.set(name, depth);
    visiting.add(name);
    for (const next of calls.get(name)) visit(next, depth + 1);
    visiting.delete(name);
  };
  for (const name of names) if (called.get(name) === 0) visit(name, 0);
  for (const name of names) if (!column.has(name)) visit(name, 0);
  return column;
}

// settle orders each column by where its neighbours stand, a few times over.
function settle(stacks, edges) {
  const at = new Map();
  const number = () => stacks.forEach((stack) => stack.forEach((name, i) => at.set(name, i - stack.length / 2)));
  number();
  for (let turn = 0; turn < 4; turn++) {
    for (const stack of stacks) {
      const place = new Map(
        stack.map((name) => {
          const near = edges.filter((e) => e.from === name || e.to === name).map((e) => at.get(e.from === name ? e.to : e.from));
          return [name, near.length ? near.reduce((a, b) => a + b, 0) / near.length : at.get(name)];
        }),
      );
      stack.sort((a, b) => place.get(a) - place.get(b) || (a < b ? -1 : 1));
      number();
    }
  }
}

// picture draws a layout. choose(name) is called for the node that is clicked.
export function picture({ nodes, edges, width, height }, choose) {
  const lines = edges.map((e) => {
    const a = nodes.get(e.from);
    const b = nodes.get(e.to);
    const thick = Math.min(4, 1 + Math.log10(1 + (e.opened ?? 0)) / 2);
    return s("path", { d: curve(a, b), class: `edge${e.failed ? " failed" : ""}${e.attested ? "" : " half"}`, "stroke-width": thick.toFixed(1), "data-from": e.from, "data-to": e.to }, s("title", {}, e.title));
  });
  const boxes = [...nodes.values()].map((n) =>
    s(
      "g",
      { class: "node", tabindex: 0, role: "button", "data-name": n.name, "aria-label": `${n.name}: show its events`, transform: `translate(${n.x} ${n.y})`, onclick: () => choose(n.name), onkeydown: (e) => ["Enter", " "].includes(e.key) && (e.preventDefault(), choose(n.name)) },
      s("title", {}, n.name),
      s("rect", { width: n.width, height: box.height, rx: 4 }),
      s("text", { x: n.width / 2, y: box.height / 2 }, n.text),
    ),
  );
  const arrow = (id, kind) => s("marker", { id, class: kind, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, markerUnits: "userSpaceOnUse", orient: "auto" }, s("path", { d: "M0 0.5 L8 4 L0 7.5 z" }));
  const svg = s("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "group", "aria-label": "Picture of who talks to whom" }, s("defs", {}, arrow("arrow", "edge"), arrow("arrow-failed", "edge failed")), ...lines, ...boxes);
  const light = (name) => {
    svg.classList.toggle("lit", Boolean(name));
    for (const line of lines) line.classList.toggle("on", line.dataset.from === name || line.dataset.to === name);
  };
  for (const node of boxes) {
    for (const type of ["pointerenter", "focus"]) node.addEventListener(type, () => light(node.dataset.name));
    for (const type of ["pointerleave", "blur"]) node.addEventListener(type, () => light(""));
  }
  return svg;
}

// curve leaves a box on its right and enters the other on its left; calls to the left or within go around.
function curve(a, b) {
  const y1 = a.y + box.height / 2;
  const y2 = b.y + box.height / 2;
  const x1 = a.x + a.width;
  if (a === b) return `M${x1} ${y1 - 6} c26 -16 26 28 0 12`;
  if (b.x > a.x) {
    const bend = (b.x - x1) / 2;
    return `M${x1} ${y1} C${x1 + bend} ${y1} ${b.x - bend} ${y2} ${b.x} ${y2}`;
  }
  const out = box.across * 0.6;
  const x2 = b.x + b.width;
  return `M${x1} ${y1} C${x1 + out} ${y1} ${x2 + out} ${y2} ${x2} ${y2}`;
}

function short(name) {
  const all = [...name];
  const half = Math.floor((letters - 1) / 2);
  return all.length <= letters ? name : `${all.slice(0, half).join("")}…${all.slice(-half).join("")}`;
}
