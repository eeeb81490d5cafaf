// SPDX-License-Identifier: Apache-2.0

// The only code that makes elements. Text becomes text nodes and nothing else: what processes call themselves is
// never parsed as markup. Nothing in this page uses innerHTML or its kin.

const SVG = "http://www.w3.org/2000/svg";

// h makes an HTML element. Children are nodes or text; absent ones (null, undefined, false) are left out.
export function h(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

// s makes an SVG element.
export function s(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat()) {
    if (child !== null && child !== undefined && child !== false) node.append(child);
  }
  return node;
}

export const $ = (id) => document.getElementById(id);

// setText touches the document only when something changes.
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
