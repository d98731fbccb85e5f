"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = (id) => document.getElementById(id);
  const lib = window.LightweightCharts;
  const trades = data.trades;
  const minus = (text) => text.replace("-", "−");
  const number = (value, digits, signed) => value === null || value === undefined ? "–" : minus(
    value.toLocaleString("en-US", {minimumFractionDigits: digits, maximumFractionDigits: digits,
      signDisplay: signed ? "exceptZero" : "auto"}));
  const money = (value, signed) => number(value, value !== null && Math.abs(value) < 1 && value !== 0 ? 4 : 2, signed);
  const time = (seconds) => seconds === null ? "–" : new Date(seconds * 1000).toISOString().slice(0, 16).replace("T", " ");
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  const node = (tag, words, kind) => {
    const made = document.createElement(tag);
    if (words !== undefined) made.textContent = words;
    if (kind) made.className = kind;
    return made;
  };
  const sign = (value) => value > 0 ? "gain" : value < 0 ? "loss" : "";
  const REASONS = {TAKE_PROFIT: "take profit", STOP_LOSS: "stop loss", EXIT: "exit signal", ENTRY: "reversed",
    LIQUIDATION: "liquidation", CLOSE_OUT: "close-out"};

  // One look for both large charts, read from the page's colors, so that a change of theme reaches them.
  const look = () => ({
    layout: {background: {color: color("panel")}, textColor: color("soft"), attributionLogo: false,
      fontFamily: color("sans"), panes: {separatorColor: color("rule"), separatorHoverColor: color("rule")}},
    grid: {vertLines: {visible: false}, horzLines: {color: color("rule")}},
    rightPriceScale: {borderVisible: false}, timeScale: {borderColor: color("rule"), timeVisible: true, minBarSpacing: 0.01},
    crosshair: {mode: 0, vertLine: {color: color("soft"), labelBackgroundColor: color("soft")},
      horzLine: {color: color("soft"), labelBackgroundColor: color("soft")}},
    localization: {locale: "en-US"},
  });
  const repaint = [];
  const create = (element, extra) => {
    // The wheel belongs to the page until the chart is clicked; a finger scrolls the page past it.
    const wheel = (on) => ({handleScale: {mouseWheel: on}, handleScroll: {mouseWheel: on, vertTouchDrag: false}});
    const chart = lib.createChart(element, {...look(), ...wheel(false), autoSize: true});
    element.addEventListener("pointerdown", () => element.focus({preventScroll: true}));
    element.addEventListener("focus", () => chart.applyOptions(wheel(true)));
    element.addEventListener("blur", () => chart.applyOptions(wheel(false)));
    if (extra) chart.applyOptions(extra);
    repaint.push(() => chart.applyOptions(look()));
    keyboard(element, chart);
    return chart;
  };
  function keyboard(element, chart) {
    element.addEventListener("keydown", (event) => {
      const scale = chart.timeScale(), range = scale.getVisibleLogicalRange();
      if (!range) return;
      const width = range.to - range.from;
      const move = {ArrowLeft: [-0.1, -0.1], ArrowRight: [0.1, 0.1], "+": [0.15, -0.15], "=": [0.15, -0.15], "-": [-0.2, 0.2]}[event.key];
      if (event.key === "Home") scale.fitContent();
      else if (move) scale.setVisibleLogicalRange({from: range.from + width * move[0], to: range.to + width * move[1]});
      else return;
      event.preventDefault();
    });
  }
  const item = (label, value, tint, kind) => {
    const span = node("span");
    if (tint) { const key = node("i"); key.style.background = tint; span.append(key); }
    span.append(label + " ", node("b", value, kind));
    return span;
  };

  // Equity, buy and hold, drawdown.
  (() => {
    const {slots, times, equity, depth, hold, hold_symbol: symbol} = data.equity;
    const points = (values) => slots.map((slot, row) => ({time: slot, value: values[row]}));
    const chart = create(at("equity-chart"));
    const short = {priceFormat: {type: "custom", minMove: 0.01, formatter: (v) => Math.abs(v) >= 1000 ? number(v, 0) : number(v, 2)},
      priceLineVisible: false};
    const held = hold ? chart.addSeries(lib.LineSeries, {...short, lineWidth: 1, lastValueVisible: false, crosshairMarkerRadius: 3}) : null;
    const own = chart.addSeries(lib.AreaSeries, {...short, lineWidth: 2});
    const under = chart.addSeries(lib.BaselineSeries, {baseValue: {type: "price", price: 0}, lineWidth: 1, priceLineVisible: false,
      lastValueVisible: false, priceFormat: {type: "custom", minMove: 0.001, formatter: (v) => number(v, 1) + " %"}}, 1);
    const paint = () => {
      own.applyOptions({lineColor: color("up"), topColor: color("up") + "38", bottomColor: color("up") + "03"});
      if (held) held.applyOptions({color: color("hold")});
      under.applyOptions({bottomLineColor: color("down"), topLineColor: color("down"), bottomFillColor1: color("down") + "10",
        bottomFillColor2: color("down") + "66", topFillColor1: "transparent", topFillColor2: "transparent"});
    };
    paint();
    repaint.push(paint);
    own.setData(points(equity));
    if (held) held.setData(points(hold));
    under.setData(points(depth));
    chart.panes()[0].setStretchFactor(3);
    chart.panes()[1].setStretchFactor(1);
    chart.timeScale().fitContent();
    const show = (row) => at("equity-readout").replaceChildren(
      item("", time(times[row])), item("Equity", money(equity[row]) + " " + data.quote, color("up")),
      ...(held ? [item("Holding " + symbol, money(hold[row]), color("hold"))] : []),
      item("Below peak", number(depth[row], 2) + " %", color("down")));
    const last = slots.length - 1;
    show(last);
    chart.subscribeCrosshairMove((move) => show(move.logical === undefined ? last : Math.max(0, Math.min(last, Math.round(move.logical)))));
    repaint.push(() => show(last));
    at("equity-fit").onclick = () => chart.timeScale().fitContent();
    at("hold").hidden = !held;
    at("hold").onclick = (event) => {
      const on = event.currentTarget.getAttribute("aria-pressed") !== "true";
      event.currentTarget.setAttribute("aria-pressed", on);
      held.applyOptions({visible: on});
    };
    at("log").onclick = (event) => {
      const on = event.currentTarget.getAttribute("aria-pressed") !== "true";
      event.currentTarget.setAttribute("aria-pressed", on);
      chart.priceScale("right", 0).applyOptions({mode: on ? 1 : 0});
    };
  })();

  // Hover read-outs of everything that carries one.
  const tip = at("tip");
  const tell = (words, event) => {
    tip.hidden = !words;
    if (!words) return;
    tip.textContent = words;
    const {width, height} = tip.getBoundingClientRect();
    tip.style.left = Math.max(6, Math.min(event.clientX + 14, innerWidth - width - 8)) + "px";
    tip.style.top = (event.clientY + height + 26 > innerHeight ? event.clientY - height - 12 : event.clientY + 18) + "px";
  };
  document.addEventListener("pointermove", (event) => {
    const holder = event.target.closest && event.target.closest("[data-tip]");
    if (holder) tell(holder.dataset.tip, event);
    else if (!(event.target.closest && event.target.closest("#excursions svg"))) tell("");
  });

  at("theme").onclick = () => {
    const dark = document.documentElement.dataset.theme ? document.documentElement.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    document.documentElement.dataset.theme = dark ? "light" : "dark";
    repaint.forEach((paint) => paint());
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => repaint.forEach((paint) => paint()));
  let themed;
  addEventListener("beforeprint", () => {
    themed = document.documentElement.dataset.theme;
    document.documentElement.dataset.theme = "light";
    repaint.forEach((paint) => paint());
  });
  addEventListener("afterprint", () => {
    if (themed) document.documentElement.dataset.theme = themed;
    else delete document.documentElement.dataset.theme;
    repaint.forEach((paint) => paint());
  });

  window.perpdesk = {data, trades, at, lib, number, money, time, color, node, sign, REASONS, repaint, create, item, tell};
})();
