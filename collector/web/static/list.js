// SPDX-License-Identifier: Apache-2.0

import { h } from "./dom.js";

// Rows all have this height, in CSS pixels; style.css says the same.
const rowHeight = 22;
// Rows drawn beyond what is visible, so that scrolling shows no holes.
const spare = 12;

// List shows any number of rows and draws only those in view: newest first, in a scrolling grid that keys can walk.
export class List {
  // draw(item) returns the cells of a row; key(item) names it; act(item, key) is called on Enter and Space.
  constructor(root, { draw, key, act, empty }) {
    Object.assign(this, { root, draw, key, act, empty });
    this.items = [];
    this.drawn = new Map();
    this.active = null;
    this.space = h("div", { class: "space", role: "presentation" });
    this.message = h("p", { class: "empty" });
    root.append(this.message, this.space);
    root.addEventListener("scroll", () => this.paint());
    root.addEventListener("keydown", (e) => this.keydown(e));
    new ResizeObserver(() => this.paint()).observe(root);
  }

  // set replaces all items. What the reader looks at stays where it is when rows come in above it.
  set(items, added = 0) {
    const before = this.root.scrollTop;
    this.items = items;
    this.space.style.height = `${items.length * rowHeight}px`;
    if (added > 0 && before > 0) this.root.scrollTop = before + added * rowHeight;
    this.message.textContent = items.length ? "" : this.empty;
    this.root.setAttribute("aria-rowcount", String(items.length));
    this.paint();
  }

  paint() {
    const first = Math.max(0, Math.floor(this.root.scrollTop / rowHeight) - spare);
    const last = Math.min(this.items.length, Math.ceil((this.root.scrollTop + this.root.clientHeight) / rowHeight) + spare);
    const keep = new Set();
    for (let i = first; i < last; i++) {
      const item = this.items[i];
      const key = this.key(item);
      keep.add(key);
      let row = this.drawn.get(key);
      if (!row) {
        row = h("div", { class: "row", role: "row", id: `row-${key}` }, this.draw(item));
        row.addEventListener("pointerdown", () => this.choose(this.items.indexOf(item), false));
        this.drawn.set(key, row);
        this.space.append(row);
      }
      row.style.transform = `translateY(${i * rowHeight}px)`;
      row.setAttribute("aria-rowindex", String(i + 1));
      row.classList.toggle("active", item === this.active);
    }
    for (const [key, row] of this.drawn) {
      if (keep.has(key)) continue;
      row.remove();
      this.drawn.delete(key);
    }
  }

  // clear forgets what is drawn, for items that are others from now on.
  clear() {
    for (const row of this.drawn.values()) row.remove();
    this.drawn.clear();
    this.active = null;
    this.root.removeAttribute("aria-activedescendant");
    this.root.scrollTop = 0;
    this.set([]);
  }

  choose(index, scroll = true) {
    const item = this.items[index];
    if (!item) return;
    this.active = item;
    if (scroll) {
      const top = index * rowHeight;
      if (top < this.root.scrollTop) this.root.scrollTop = top;
      else if (top + rowHeight > this.root.scrollTop + this.root.clientHeight) this.root.scrollTop = top + rowHeight - this.root.clientHeight;
    }
    this.paint();
    this.root.setAttribute("aria-activedescendant", `row-${this.key(item)}`);
  }

  keydown(e) {
    const at = this.items.indexOf(this.active);
    const page = Math.max(1, Math.floor(this.root.clientHeight / rowHeight) - 1);
    const to = { ArrowDown: at + 1, ArrowUp: at < 0 ? 0 : at - 1, PageDown: Math.max(at, 0) + page, PageUp: at - page, Home: 0, End: this.items.length - 1 }[e.key];
    if (to !== undefined) {
      this.choose(Math.max(0, Math.min(this.items.length - 1, to)));
    } else if ((e.key === "Enter" || e.key === " ") && this.active && e.target === this.root) {
      this.act(this.active, e.key);
    } else {
      return;
    }
    e.preventDefault();
  }
}
