// Where the entries of a pipeline stand in its drawing: in layers, so that rows go one way, and lines cross seldom.

/** How often the order within the layers is mended. */
const SWEEPS = 12;

/** Splits `window.late` into an entry and its port. Names are unique in a pipeline, and have no dots. */
const input = text => {
  const dot = text.indexOf('.');
  return dot < 0 ? { name: text, port: '' } : { name: text.slice(0, dot), port: text.slice(dot + 1) };
};

/** Lines: from which entry to which, by which port. */
const linesOf = entries => {
  const at = new Map(entries.map((entry, index) => [entry.name, index]));
  return entries.flatMap((entry, to) =>
    entry.from.map(input).filter(({ name }) => at.has(name)).map(({ name, port }) => ({ from: at.get(name), to, port, name: port ? `${name}.${port}` : name, reader: entry.name })));
};

/** Layers: an entry stands below all that it reads, a source right above what reads it first. */
const layersOf = (size, lines) => {
  const layer = Array(size).fill(0);
  // What is read has no circles: longest paths are found within as many rounds as there are entries.
  for (let round = 0, moved = true; moved && round < size; round += 1) {
    moved = false;
    for (const { from, to } of lines) {
      if (layer[to] <= layer[from]) [layer[to], moved] = [layer[from] + 1, true];
    }
  }
  for (let index = 0; index < size; index += 1) {
    const below = lines.filter(line => line.from === index).map(line => layer[line.to]);
    if (below.length && !lines.some(line => line.to === index)) layer[index] = Math.min(...below) - 1;
  }
  return layer;
};

/**
 * Lays entries out. `across` is the least distance of two entries in a layer, `past` that of a line that only goes by.
 * Points have a `layer`, and a place `at` across it; those without `entry` are where lines pass a layer.
 */
export const layout = (entries, across, past) => {
  const lines = linesOf(entries);
  const layer = layersOf(entries.length, lines);
  const points = entries.map((_, entry) => ({ entry, layer: layer[entry], up: [], down: [], at: 0 }));
  for (const line of lines) {
    line.points = [points[line.from]];
    for (let between = layer[line.from] + 1; between < layer[line.to]; between += 1) {
      const point = { layer: between, up: [], down: [], at: 0 };
      points.push(point);
      line.points.push(point);
    }
    line.points.push(points[line.to]);
    line.points.slice(1).forEach((point, index) => {
      point.up.push(line.points[index]);
      line.points[index].down.push(point);
    });
  }
  const layers = Array.from({ length: Math.max(0, ...layer) + 1 }, () => []);
  for (const point of points) layers[point.layer].push(point);
  order(layers);
  place(layers, (a, b) => ('entry' in a && 'entry' in b ? across : 'entry' in a || 'entry' in b ? (across + past) / 2 : past));
  const least = Math.min(...points.map(point => point.at));
  for (const point of points) point.at -= least;
  return { lines, points: points.slice(0, entries.length), layers: layers.length, extent: Math.max(...points.map(point => point.at)) };
};

const mean = (points, of) => points.reduce((sum, point) => sum + of(point), 0) / points.length;

const rank = layer => layer.forEach((point, index) => (point.rank = index));

const crossings = layers => {
  let found = 0;
  for (const layer of layers) {
    const lines = layer.flatMap(point => point.down.map(below => [point.rank, below.rank]));
    lines.forEach(([a, b], index) => {
      for (const [c, d] of lines.slice(index + 1)) found += (a - c) * (b - d) < 0 ? 1 : 0;
    });
  }
  return found;
};

/** Orders each layer by where its neighbours are, down and up in turn, and keeps the order with the fewest crossings. */
const order = layers => {
  layers.forEach(rank);
  let best = { crossings: crossings(layers), layers: layers.map(layer => [...layer]) };
  for (let sweep = 0; sweep < SWEEPS && best.crossings; sweep += 1) {
    const side = sweep % 2 ? 'down' : 'up';
    for (const layer of sweep % 2 ? [...layers].reverse() : layers) {
      for (const point of layer) point.wish = point[side].length ? mean(point[side], near => near.rank) : point.rank;
      layer.sort((a, b) => a.wish - b.wish || a.rank - b.rank);
      rank(layer);
    }
    const found = crossings(layers);
    if (found < best.crossings) best = { crossings: found, layers: layers.map(layer => [...layer]) };
  }
  best.layers.forEach((layer, index) => {
    layers[index] = layer;
    rank(layer);
  });
};

/** Places each layer as near to where its neighbours are as its order and the distances allow. */
const place = (layers, apart) => {
  for (const layer of layers) layer.forEach((point, i) => (point.at = i ? layer[i - 1].at + apart(layer[i - 1], point) : 0));
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    const sides = sweep % 3 === 0 ? ['up'] : sweep % 3 === 1 ? ['down'] : ['up', 'down'];
    for (const layer of sides[0] === 'down' ? [...layers].reverse() : layers) {
      const wishes = layer.map(point => {
        const near = sides.flatMap(side => point[side]);
        return near.length ? mean(near, other => other.at) : point.at;
      });
      settle(layer, wishes, apart);
    }
  }
};

/** The places nearest to the wishes, in the same order and far enough apart: neighbours that would collide share their mean. */
const settle = (layer, wishes, apart) => {
  let offset = 0;
  const offsets = layer.map((point, i) => (offset += i ? apart(layer[i - 1], point) : 0));
  const blocks = [];
  wishes.forEach((wish, i) => {
    blocks.push({ sum: wish - offsets[i], size: 1 });
    while (blocks.length > 1 && blocks.at(-2).sum / blocks.at(-2).size >= blocks.at(-1).sum / blocks.at(-1).size) {
      const last = blocks.pop();
      blocks.at(-1).sum += last.sum;
      blocks.at(-1).size += last.size;
    }
  });
  const places = blocks.flatMap(block => Array(block.size).fill(block.sum / block.size));
  layer.forEach((point, i) => (point.at = places[i] + offsets[i]));
};
