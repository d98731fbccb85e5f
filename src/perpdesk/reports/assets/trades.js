"use strict";
(() => {
  const {data, trades, at, lib, number, money, time, color, node, sign, REASONS, repaint, create, item, tell} = window.perpdesk;
  const count = trades.id.length;
  const chart = create(at("price-chart"), {layout: {attributionLogo: true}});
  const series = chart.addSeries(lib.CandlestickSeries, {priceLineVisible: false, lastValueVisible: false, borderVisible: false});
  let symbol = 0, selected = -1, order = [...trades.id.keys()], loaded = null;

  const price = (value) => value === null ? "–" : number(value, loaded ? loaded.digits : 2);
  const paint = () => {
    chart.applyOptions({layout: {attributionLogo: true}});
    series.applyOptions({upColor: color("up"), wickUpColor: color("up"), downColor: color("down"), wickDownColor: color("down")});
  };
  repaint.push(paint);
  paint();

  /** Row of the candle that holds a time: the last that opened at or before it. */
  const rowAt = (seconds) => {
    let low = 0, high = loaded.time.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (loaded.time[middle] <= seconds) low = middle; else high = middle - 1;
    }
    return low;
  };

  // Trades are drawn by hand: risk and reward of the selected one as boxes, the others as faint lines.
  const CROWD = 160;
  const marks = {
    zOrder: () => "top",
    renderer: () => ({draw: (target) => target.useMediaCoordinateSpace(({context}) => draw(context))}),
  };
  series.attachPrimitive({paneViews: () => [marks], updateAllViews() {}});
  function draw(context) {
    if (!loaded) return;
    const scale = chart.timeScale(), range = scale.getVisibleLogicalRange();
    if (!range) return;
    const x = (seconds) => scale.logicalToCoordinate(rowAt(seconds));
    const y = (value) => series.priceToCoordinate(value);
    const end = loaded.time[loaded.time.length - 1];
    const seen = [];
    for (let row = 0; row < count; row++) {
      if (trades.symbol[row] !== symbol || row === selected) continue;
      if (rowAt(trades.left[row] ?? end) >= range.from && rowAt(trades.entered[row]) <= range.to) seen.push(row);
    }
    const crowded = seen.length > CROWD;
    for (const row of crowded ? [] : seen) one(row, 0.75);
    if (crowded) for (const row of seen) tick(row);
    if (selected >= 0 && trades.symbol[selected] === symbol) { boxes(selected); one(selected, 1); }

    function tick(row) {
      context.globalAlpha = 0.5;
      context.fillStyle = color(trades.net_pnl[row] > 0 ? "up" : "down");
      context.fillRect(x(trades.entered[row]) - 1, y(trades.entry_price[row]) - 1, 2.5, 2.5);
      context.globalAlpha = 1;
    }
    function one(row, alpha) {
      const x0 = x(trades.entered[row]), y0 = y(trades.entry_price[row]);
      const x1 = x(trades.left[row] ?? end), y1 = y(trades.exit_price[row] ?? trades.entry_price[row]);
      const up = trades.side[row] > 0 ? 1 : -1, bold = row === selected;
      context.globalAlpha = alpha;
      context.strokeStyle = color("ink");
      context.lineWidth = bold ? 1.5 : 1;
      context.setLineDash([3, 3]);
      context.beginPath(); context.moveTo(x0, y0); context.lineTo(x1, y1); context.stroke();
      context.setLineDash([]);
      // The entry: a triangle that points where the trade wants to go. The exit: a dot, by its result.
      const size = bold ? 8 : 5.5;
      context.lineWidth = 1.5;
      context.strokeStyle = color("panel");
      context.fillStyle = color("ink");
      context.beginPath();
      context.moveTo(x0, y0 - up); context.lineTo(x0 - size, y0 + up * size * 1.5); context.lineTo(x0 + size, y0 + up * size * 1.5);
      context.closePath(); context.fill(); context.stroke();
      context.fillStyle = color(trades.net_pnl[row] > 0 ? "up" : "down");
      context.beginPath(); context.arc(x1, y1, bold ? 6 : 4, 0, 7); context.fill(); context.stroke();
      context.globalAlpha = 1;
    }
    function boxes(row) {
      const x0 = x(trades.entered[row]), x1 = Math.max(x(trades.left[row] ?? end), x0 + 28), y0 = y(trades.entry_price[row]);
      for (const [level, tint, name] of [[trades.stop_loss[row], "down", "stop"], [trades.take_profit[row], "up", "target"]]) {
        if (level === null) continue;
        const y1 = y(level);
        context.globalAlpha = 0.16;
        context.fillStyle = color(tint);
        context.fillRect(x0, Math.min(y0, y1), x1 - x0, Math.abs(y1 - y0));
        context.globalAlpha = 1;
        line(x0, x1, y1, color(tint), name + " " + price(level), y1 > y0 ? 13 : -5);
      }
      line(x0, x1, y0, color("ink"), "", 0);
    }
    function line(x0, x1, y0, tint, words, shift) {
      context.strokeStyle = context.fillStyle = tint;
      context.lineWidth = 1.5;
      context.beginPath(); context.moveTo(x0, y0); context.lineTo(x1, y0); context.stroke();
      if (!words) return;
      context.font = "600 12px " + color("sans");
      context.lineWidth = 3; context.strokeStyle = color("panel");
      context.strokeText(words, x0 + 3, y0 + shift); context.fillText(words, x0 + 3, y0 + shift);
    }
  }

  function load(row) {
    symbol = row;
    loaded = data.candles[data.symbols[row]] || null;
    at("symbol").value = String(row);
    const note = at("candle-note");
    if (!loaded) { series.setData([]); note.textContent = "No candles of " + data.symbols[row] + " were kept."; return; }
    series.applyOptions({priceFormat: {type: "custom", minMove: 10 ** -loaded.digits, formatter: price}});
    series.setData(loaded.time.map((seconds, i) => ({time: seconds, open: loaded.open[i], high: loaded.high[i], low: loaded.low[i], close: loaded.close[i]})));
    chart.timeScale().fitContent();
    note.textContent = (loaded.timeframe === loaded.source ? "Candles of " + loaded.source + "."
      : "Shown as " + loaded.timeframe + " candles, joined from " + loaded.source_count.toLocaleString("en-US") + " of " + loaded.source + ".")
      + " ▲ long entry, ▼ short entry, ● exit, blue for a profit. Click the chart, then the wheel or + and − zoom, arrows move, P and N step through trades.";
    readout(loaded.time.length - 1);
  }
  function readout(row) {
    if (!loaded || row < 0 || row >= loaded.time.length) return;
    const change = (loaded.close[row] / loaded.open[row] - 1) * 100;
    at("price-readout").replaceChildren(item("", data.symbols[symbol] + " " + loaded.timeframe), item("", time(loaded.time[row])),
      item("O", price(loaded.open[row])), item("H", price(loaded.high[row])), item("L", price(loaded.low[row])),
      item("C", price(loaded.close[row])), item("", number(change, 2, true) + " %", "", sign(change)));
  }
  chart.subscribeCrosshairMove((move) => { if (loaded) readout(move.logical === undefined ? loaded.time.length - 1 : Math.round(move.logical)); });

  function select(row, {zoom = true, scroll = true} = {}) {
    if (row < 0 || row >= count) return;
    selected = row;
    if (trades.symbol[row] !== symbol) load(trades.symbol[row]);
    if (loaded && zoom) {
      const from = rowAt(trades.entered[row]), to = rowAt(trades.left[row] ?? Infinity);
      const room = Math.max(35, (to - from) * 0.9);
      chart.timeScale().setVisibleLogicalRange({from: from - room, to: to + room});
    }
    series.applyOptions({});
    card(row);
    const body = at("trade-table").tBodies[0];
    for (const marked of body.querySelectorAll('[aria-selected="true"]')) marked.removeAttribute("aria-selected");
    const line = body.querySelector('[data-row="' + row + '"]');
    if (!line) return;
    line.setAttribute("aria-selected", "true");
    const box = line.closest(".table-window");
    if (scroll) box.scrollTop = line.offsetTop - box.clientHeight / 2;
  }
  function card(row) {
    const t = (name) => trades[name][row];
    const list = node("dl");
    const add = (name, value, kind) => list.append(node("dt", name), node("dd", value, kind));
    add("Entered", time(t("entered"))); add("Left", time(t("left"))); add("Because", REASONS[t("reason")] || "still open");
    list.append(node("hr"));
    add("Quantity", t("quantity").toLocaleString("en-US", {maximumFractionDigits: 8}));
    add("Entry", price(t("entry_price"))); add("Exit", price(t("exit_price")));
    add("Stop", price(t("stop_loss"))); add("Target", price(t("take_profit")));
    list.append(node("hr"));
    add("Fees", money(-t("fees"), true)); add("Funding", money(t("funding"), true), sign(t("funding")));
    add("Worst (MAE)", money(t("mae"), true)); add("Best (MFE)", money(t("mfe"), true));
    const big = node("p", money(t("net_pnl"), true) + " " + data.quote, "big " + sign(t("net_pnl")));
    const r = t("r") === null ? "" : " · " + number(t("r"), 2, true) + " R";
    at("trade-card").replaceChildren(node("h3", "Trade " + t("id") + " · " + (t("side") > 0 ? "long " : "short ") + data.symbols[t("symbol")] + r), big, list);
  }
  const step = (by) => {
    const place = order.indexOf(selected);
    select(order[Math.max(0, Math.min(order.length - 1, place < 0 ? 0 : place + by))]);
  };
  at("next").onclick = () => step(1);
  at("previous").onclick = () => step(-1);
  at("price-fit").onclick = () => chart.timeScale().fitContent();
  at("price-chart").addEventListener("keydown", (event) => {
    const by = {n: 1, N: 1, p: -1, P: -1}[event.key];
    if (by) step(by);
  });

  // The list, sortable by every column.
  const COLUMNS = [["id", "#"], ["symbol", "Symbol", (v) => data.symbols[v], "t"], ["side", "Side", (v) => v > 0 ? "long" : "short", "t"],
    ["entered", "Entered", time, "t"], ["left", "Left", time, "t"], ["quantity", "Quantity", (v) => v.toLocaleString("en-US", {maximumFractionDigits: 8})],
    ["entry_price", "Entry", null], ["exit_price", "Exit", null], ["stop_loss", "Stop", null], ["take_profit", "Target", null],
    ["reason", "Ended by", (v) => REASONS[v] || "open", "t"], ["fees", "Fees", (v) => money(v)], ["funding", "Funding", (v) => money(v, true)],
    ["net_pnl", "Net " + data.quote, (v) => money(v, true)], ["r", "R", (v) => number(v, 2, true)],
    ["mae", "MAE", (v) => money(v)], ["mfe", "MFE", (v) => money(v)]];
  if (data.symbols.length < 2) COLUMNS.splice(1, 1);
  const digits = data.symbols.map((name) => data.candles[name] ? data.candles[name].digits : 2);
  const table = at("trade-table"), body = table.tBodies[0];
  let sorted = {name: "id", down: false};
  const heads = COLUMNS.map(([name, words, , kind]) => {
    const head = node("th", undefined, kind), button = node("button", words);
    head.scope = "col"; button.type = "button"; head.append(button);
    button.onclick = () => { sorted = {name, down: sorted.name === name ? !sorted.down : kind !== "t" && name !== "id"}; fill(); };
    return head;
  });
  const headRow = node("tr");
  headRow.append(...heads);
  table.tHead.append(headRow);
  const lines = order.map((row) => {
    const line = node("tr");
    line.dataset.row = row;
    for (const [name, , write, kind] of COLUMNS) {
      const value = trades[name][row];
      const words = write ? write(value) : value === null ? "–" : number(value, digits[trades.symbol[row]]);
      const cell = node("td", name === "id" ? undefined : words, name === "net_pnl" || name === "r" ? sign(value) : kind);
      if (name === "id") { const pick = node("button", String(value), "pick"); pick.type = "button"; pick.setAttribute("aria-label", "Show trade " + value); cell.append(pick); }
      line.append(cell);
    }
    return line;
  });
  function fill() {
    const values = trades[sorted.name], way = sorted.down ? -1 : 1;
    order = [...trades.id.keys()].sort((a, b) => {
      if (values[a] === values[b]) return a - b;
      if (values[a] === null) return 1;
      if (values[b] === null) return -1;
      return (values[a] < values[b] ? -1 : 1) * way;
    });
    body.replaceChildren(...order.map((row) => lines[row]));
    heads.forEach((head, i) => { if (COLUMNS[i][0] === sorted.name) head.setAttribute("aria-sort", sorted.down ? "descending" : "ascending"); else head.removeAttribute("aria-sort"); });
  }
  body.onclick = (event) => { const line = event.target.closest("tr"); if (line) select(Number(line.dataset.row), {scroll: false}); };
  fill();

  const choose = at("symbol");
  data.symbols.forEach((name, row) => { const option = node("option", name); option.value = String(row); choose.append(option); });
  choose.hidden = data.symbols.length < 2;
  choose.onchange = () => load(Number(choose.value));
  if (data.symbols.length) load(0);
  if (count) {
    // Begin with a trade worth looking at: the best one of those listed.
    select(trades.net_pnl.indexOf(Math.max(...trades.net_pnl)));
  } else at("trade-card").replaceChildren(node("p", "No trades.", "hint"));

  // The scatter: the nearest trade under the pointer, and its place on the chart by a click.
  const plot = document.querySelector("#excursions svg");
  if (plot) {
    const [xHigh, yHigh, left, right, top, bottom] = plot.dataset.scale.split(" ").map(Number);
    const {width, height} = plot.viewBox.baseVal, ring = plot.querySelector(".focus");
    const inR = plot.dataset.unit === "R", dots = [];
    for (let row = 0; row < count; row++) {
      if (trades.mae[row] === null || (inR && trades.stop_loss[row] === null)) continue;
      const risk = inR ? Math.abs(trades.entry_price[row] - trades.stop_loss[row]) * trades.quantity[row] : 1;
      if (!risk) continue;
      dots.push({row, across: -trades.mae[row] / risk, up: trades.mfe[row] / risk,
        x: left + Math.min(-trades.mae[row] / risk / xHigh, 1) * (width - left - right),
        y: height - bottom - Math.min(trades.mfe[row] / risk / yHigh, 1) * (height - top - bottom)});
    }
    const nearest = (event) => {
      const frame = plot.getBoundingClientRect();
      const x = (event.clientX - frame.left) / frame.width * width, y = (event.clientY - frame.top) / frame.height * height;
      let best = null, least = 400;
      for (const dot of dots) { const away = (dot.x - x) ** 2 + (dot.y - y) ** 2; if (away < least) { least = away; best = dot; } }
      return best;
    };
    plot.addEventListener("pointermove", (event) => {
      const dot = nearest(event);
      ring.style.visibility = dot ? "visible" : "hidden";
      if (!dot) { tell(""); return; }
      ring.setAttribute("cx", dot.x); ring.setAttribute("cy", dot.y);
      const unit = inR ? " R" : " " + data.quote;
      tell("Trade " + trades.id[dot.row] + ": " + money(trades.net_pnl[dot.row], true) + " " + data.quote +
        "\nfor " + number(dot.up, 2) + unit + ", against " + number(dot.across, 2) + unit, event);
    });
    plot.addEventListener("pointerleave", () => { ring.style.visibility = "hidden"; tell(""); });
    plot.addEventListener("click", (event) => { const dot = nearest(event); if (dot) { select(dot.row); at("trades").scrollIntoView({behavior: "smooth"}); } });
  }
})();
