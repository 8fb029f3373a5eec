// A token of a text of more than DENSE tokens, which fall into blocks of BLOCK, attends to the blocks beside its own, to the
// first, which counts FIRST times, and to the last; those of the first and of the last block attend to all. So do those of
// shorter texts. Source: arXiv 2007.14062, as transformers has it without a random generator.
const PARTS = 3u;

fn slides(part: u32) -> bool { return false; }

// The token's block, and the number of blocks.
fn block(row: u32) -> vec2<u32> {
  let tokens = frame_until(row) - frame_from(row);
  return vec2<u32>((row - frame_from(row)) / BLOCK, (tokens + BLOCK - 1u) / BLOCK);
}

fn sparse(row: u32) -> bool { return frame_until(row) - frame_from(row) > DENSE; }

// What lies around the token, in front of that, and behind.
fn seen(row: u32, part: u32) -> vec2<u32> {
  let begin = frame_from(row);
  let end = frame_until(row);
  let at = block(row);
  if !sparse(row) || at.x == 0u || at.x + 1u == at.y {
    return select(vec2<u32>(0u), vec2<u32>(begin, end), part == 0u);
  }
  let near = vec2<u32>(begin + (at.x - 1u) * BLOCK, min(begin + (at.x + 2u) * BLOCK, end));
  if part == 1u {
    return vec2<u32>(begin, min(begin + BLOCK, near.x));
  }
  if part == 2u {
    return vec2<u32>(max(begin + (at.y - 1u) * BLOCK, near.y), end);
  }
  return near;
}

fn distance(row: u32, key: u32, part: u32) -> i32 { return i32(key) - i32(row); }

fn repeats(row: u32, key: u32) -> f32 {
  let at = block(row);
  let edge = !sparse(row) || at.x == 0u || at.x + 1u == at.y;
  return select(FIRST, 1.0, edge || key >= frame_from(row) + BLOCK);
}

fn finished(row: u32, at: u32, attended: vec4<f32>) -> vec4<f32> { return attended; }
