// Before anything is painted: the theme that was chosen, or that of the system.
"use strict";
try {
  const chosen = localStorage.getItem("sqla-oban-theme");
  if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
} catch { /* storage may be forbidden; the system's theme will do */ }
