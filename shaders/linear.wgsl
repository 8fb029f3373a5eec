// out[r, n] = epilogue(sum_k x[r, k] weight[n, k] + bias[n])
//
// A workgroup of 8 x 8 makes a tile of 32 rows x 32 columns, an invocation 4 x 4 of it. Rows past the batch
// are computed from whatever lies there and not written.
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;          // [rows, K4]
@group(0) @binding(2) var<storage, read> weight: array<matrix4>;       // [N/8][K][8], see Layout::Linear
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;       // [N4]
@group(0) @binding(4) var<storage, read_write> out: array<vec4<f32>>;  // [rows, N4]

const TILE_K = 16u;
const TILE_K4 = TILE_K / 4u;

var<workgroup> x_tile: array<vec4<f32>, 32u * TILE_K4>;      // [row][k4]
var<workgroup> weight_tile: array<vec4<f32>, TILE_K * 8u>;   // [k][n4]

@compute @workgroup_size(8, 8)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_id) local: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let row0 = group.x * 32u;
  let panel0 = group.y * 4u;
  var sums: array<vec4<f32>, 4>;
  for (var k0 = 0u; k0 < 4u * K4; k0 += TILE_K) {
    for (var i = lane; i < 32u * TILE_K4; i += 64u) {
      let k4 = k0 / 4u + i % TILE_K4;
      x_tile[i] = select(vec4<f32>(0.0), x[(row0 + i / TILE_K4) * K4 + k4], k4 < K4);
    }
    // Two vec4 a row of a panel: consecutive lanes read consecutive memory.
    for (var i = lane; i < TILE_K * 8u; i += 64u) {
      let panel = i / (2u * TILE_K);
      let k = (i / 2u) % TILE_K;
      let at = ((panel0 + panel) * 4u * K4 + k0 + k) * 2u + i % 2u;
      weight_tile[k * 8u + panel * 2u + i % 2u] = select(vec4<f32>(0.0), matrix_load(weight[at]), k0 + k < 4u * K4);
    }
    workgroupBarrier();
    for (var k4 = 0u; k4 < TILE_K4; k4++) {
      let w0 = weight_tile[(4u * k4) * 8u + local.x];
      let w1 = weight_tile[(4u * k4 + 1u) * 8u + local.x];
      let w2 = weight_tile[(4u * k4 + 2u) * 8u + local.x];
      let w3 = weight_tile[(4u * k4 + 3u) * 8u + local.x];
      for (var i = 0u; i < 4u; i++) {
        let v = x_tile[(local.y * 4u + i) * TILE_K4 + k4];
        sums[i] += v.x * w0 + v.y * w1 + v.z * w2 + v.w * w3;
      }
    }
    workgroupBarrier();
  }
  let column4 = group.y * 8u + local.x;
  if column4 >= N4 {
    return;
  }
  for (var i = 0u; i < 4u; i++) {
    let row = row0 + local.y * 4u + i;
    if row < linear_rows() {
      let at = row * N4 + column4;
      out[at] = epilogue(sums[i] + bias[column4], at);
    }
  }
}

fn linear_rows() -> u32 { return select(frame_texts(), frame_tokens(), ROWS_ARE_TOKENS); }
