// A list of any length: only the rows that can be seen are in the document.

import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef, useState } from "preact/hooks";

/** Rows above and below the window that are drawn, too, so that scrolling shows no gaps. */
const SPARE = 8;

export function List<T>({ label, head, items, rowHeight, row, keyOf, nearEnd, onTop }: {
  label: string;
  head: ComponentChildren;
  items: T[];
  rowHeight: number;
  /** The cells of a row. */
  row: (item: T) => ComponentChildren;
  keyOf: (item: T) => string;
  /** Called when the last rows come near. */
  nearEnd: () => void;
  /** Called when the first row is reached, and left. */
  onTop: (isTop: boolean) => void;
}) {
  const box = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const [height, setHeight] = useState(600);
  const wasTop = useRef(true);
  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return;
    const measure = new ResizeObserver(() => setHeight(element.clientHeight));
    measure.observe(element);
    return () => measure.disconnect();
  }, []);
  const first = Math.max(0, Math.floor(top / rowHeight) - SPARE);
  const last = Math.min(items.length, Math.ceil((top + height) / rowHeight) + SPARE);
  const scrolled = () => {
    const element = box.current;
    if (!element) return;
    setTop(element.scrollTop);
    if (element.scrollTop + element.clientHeight * 3 > items.length * rowHeight) nearEnd();
    const isTop = element.scrollTop < rowHeight;
    if (isTop !== wasTop.current) {
      wasTop.current = isTop;
      onTop(isTop);
    }
  };
  return (
    <div class="list" role="table" aria-label={label} aria-rowcount={items.length + 1}>
      <div class="list-head" role="row">
        {head}
      </div>
      <div ref={box} class="list-body" role="rowgroup" tabIndex={0} onScroll={scrolled}>
        <div class="list-all" role="presentation" style={{ height: `${items.length * rowHeight}px` }}>
          {items.slice(first, last).map((item, n) => (
            <div
              key={keyOf(item)}
              class="list-row"
              role="row"
              aria-rowindex={first + n + 2}
              style={{ transform: `translateY(${(first + n) * rowHeight}px)`, height: `${rowHeight}px` }}
            >
              {row(item)}
            </div>
          ))}
        </div>
      </div>
    </div>
  );
}
