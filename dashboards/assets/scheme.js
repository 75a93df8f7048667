// The stored colour scheme, before the page is drawn: no white flash in dark mode.
(function () {
  var kept = localStorage.getItem("mantine-color-scheme-value");
  var dark = kept === "dark" || (kept !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.setAttribute("data-mantine-color-scheme", dark ? "dark" : "light");
})();

window.dash_clientside = window.dash_clientside || {};
window.dash_clientside.mesascope = {
  // The toggle reports nothing while the scheme follows the system; the page's own attribute always holds it.
  currentScheme: function () {
    return document.documentElement.getAttribute("data-mantine-color-scheme") === "dark" ? "dark" : "light";
  },
};
