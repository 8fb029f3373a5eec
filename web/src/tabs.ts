// The rooms as ARIA tabs: one tab stop, arrow keys, Home and End move between them, and the shown panel follows the focus.

/** `shown` is called with a panel each time that it is shown. */
export function tabs(list: HTMLElement, shown: (panel: HTMLElement) => void): void {
  const all = [...list.querySelectorAll<HTMLElement>("[role=tab]")];

  const show = (chosen: HTMLElement) => {
    for (const tab of all) {
      const selected = tab === chosen;
      tab.setAttribute("aria-selected", String(selected));
      tab.tabIndex = selected ? 0 : -1;
      const panel = document.getElementById(tab.getAttribute("aria-controls")!)!;
      panel.hidden = !selected;
      if (selected) shown(panel);
    }
  };

  list.addEventListener("click", (event) => {
    const tab = (event.target as Element).closest<HTMLElement>("[role=tab]");
    if (tab) show(tab);
  });
  list.addEventListener("keydown", (event) => {
    const at = all.indexOf(document.activeElement as HTMLElement);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    const tab = all[(to + all.length) % all.length]!;
    tab.focus();
    show(tab);
  });
}
