// t of every adapter, where an earlier step has made them.
@group(0) @binding(3) var<storage, read> down: array<vec4<f32>>;  // [tokens, ADAPTERS, RANK4]

fn lora_down(row: u32, adapter: u32, rank4: u32) -> vec4<f32> {
  return down[(row * ADAPTERS + adapter) * RANK4 + rank4];
}
