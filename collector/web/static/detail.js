// SPDX-License-Identifier: Apache-2.0

// The dialog: a process with its tree, or everything that an event says.

import { ask } from "./api.js";
import { $, h, setText } from "./dom.js";
import { clock, command, duration, exitSentence, printable, processName, workloadName } from "./text.js";

let shown = 0;

function open(title, ...body) {
  setText($("dialog-title"), title);
  $("dialog-body").replaceChildren(...body);
  if (!$("dialog").open) $("dialog").showModal();
  return ++shown;
}

export function startDetail() {
  $("dialog-close").addEventListener("click", () => $("dialog").close());
  // A click beside the dialog closes it.
  $("dialog").addEventListener("click", (e) => e.target === $("dialog") && $("dialog").close());
}

// showTree draws a process with its ancestors and descendants.
export async function showTree(execId) {
  const mine = open("Process", h("p", { class: "empty" }, "asking …"));
  try {
    const answer = await ask("GetTree", { execId });
    if (mine !== shown) return;
    const nodes = answer.nodes ?? [];
    const asked = nodes.find((n) => !n.depth) ?? {};
    open(processName(asked.process), facts(asked), gaps(answer.completeness), h("ul", { class: "tree", role: "tree", "aria-label": "Process tree" }, ...branches(nodes)));
  } catch (error) {
    if (mine === shown) open("Process", h("p", { class: "empty" }, error.message));
  }
}

// showEvent lists every field of an event as it came.
export function showEvent(event) {
  const exit = event.process ? h("p", {}, h("button", { type: "button", onclick: () => showTree(event.process.execId) }, "Process tree")) : null;
  open(`Event ${printable(event.id)}`, ...[exit].filter(Boolean), h("pre", { tabindex: 0 }, JSON.stringify(event, null, 2).split("\n").map((line) => printable(line).replaceAll("\\\\", "\\")).join("\n")));
}

function gaps(completeness) {
  const list = completeness?.gaps ?? [];
  return h("p", { class: list.length ? "warn" : "quiet" }, list.length ? `Incomplete: ${list.map(printable).join("; ")}` : "");
}

function facts({ process: p, instance, node }) {
  if (!p) return h("p", {}, "");
  const rows = [
    ["exec id", printable(p.execId)],
    ["command", command(p)],
    ["workload", workloadName(instance?.workload, node)],
    ["node", printable(node)],
    ["user", `uid ${p.uid ?? 0}, gid ${p.gid ?? 0}`],
    ["started", p.startTime ? clock(p.startTime) : ""],
    ["directory", printable(p.cwd)],
    ["capabilities", capabilities(p.capEffective)],
    ["container", printable(instance?.containerId)],
    ["pod", printable(instance?.podName)],
    ["cgroup", printable(instance?.cgroupPath)],
  ];
  return h("dl", { class: "facts" }, rows.filter(([, value]) => value && value !== "–").flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

function capabilities(bits) {
  if (!bits || bits === "0") return "none";
  return `0x${BigInt(bits).toString(16)}`;
}

// grow joins nodes, which come depth first, to the trees that their depths describe.
function grow(nodes) {
  const roots = [];
  const way = [];
  for (const node of nodes) {
    const branch = { node, depth: node.depth ?? 0, children: [] };
    while (way.length && way[way.length - 1].depth >= branch.depth) way.pop();
    (way.length ? way[way.length - 1].children : roots).push(branch);
    way.push(branch);
  }
  return roots;
}

// settled skips forks that did nothing but execute a program: with that program they are one thing to a reader.
function settled(branch) {
  while (branch.children.length === 1 && branch.depth !== 0 && !branch.node.exit) {
    const p = branch.node.process ?? {};
    const child = branch.children[0].node.process ?? {};
    if (child.tgid !== p.tgid || child.parentExecId !== p.execId) break;
    branch = branch.children[0];
  }
  return branch;
}

function branches(nodes) {
  const lines = [];
  const draw = (branch, level, first, rest) => {
    branch = settled(branch);
    lines.push(line(branch, level, first));
    branch.children.forEach((child, i) => {
      const last = i === branch.children.length - 1;
      draw(child, level + 1, rest + (last ? "└─ " : "├─ "), rest + (last ? "   " : "│  "));
    });
  };
  for (const root of grow(nodes)) draw(root, 1, "", "");
  return lines;
}

function line({ node, depth }, level, rails) {
  const p = node.process ?? {};
  return h(
    "li",
    { role: "treeitem", "aria-level": level, class: depth === 0 ? "asked" : depth < 0 ? "above" : "", "aria-current": depth === 0 && "true" },
    h("span", { class: "rails", "aria-hidden": "true" }, rails),
    h("button", { type: "button", class: "plain", onclick: () => showTree(p.execId) }, processName(p)),
    h("span", { class: "command" }, command(p)),
    node.exit && h("span", { class: node.exit.signal || node.exit.exitCode ? "exit bad" : "exit" }, exitSentence(node.exit) + lived(node)),
  );
}

function lived(node) {
  if (!node.process?.startTime || !node.exitTime) return "";
  const took = Date.parse(node.exitTime) - Date.parse(node.process.startTime);
  return took >= 0 ? ` after ${duration(took)}` : "";
}
