// lib/product.wgsl, for a GPU whose memory is a CPU's caches.
//
// A workgroup of 8 x 8 makes a tile of 32 rows x 64 columns, an invocation 4 rows x one panel of 8 columns. Values
// come straight from the buffers: neighbours read the same ones, which caches serve. Rows past the batch are
// computed from whatever lies there and not written. The weight may be a piece of its columns, from tile FIRST on.
@compute @workgroup_size(8, 8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
  let row = group.x * 32u + local.y * 4u;
  let panel = group.y * 8u + local.x;
  // Named sums, not an array: software drivers keep an indexed array in memory.
  var low0 = vec4<f32>(0.0);
  var low1 = vec4<f32>(0.0);
  var low2 = vec4<f32>(0.0);
  var low3 = vec4<f32>(0.0);
  var high0 = vec4<f32>(0.0);
  var high1 = vec4<f32>(0.0);
  var high2 = vec4<f32>(0.0);
  var high3 = vec4<f32>(0.0);
  for (var k4 = 0u; k4 < K4; k4++) {
    let x0 = x[row * K4 + k4];
    let x1 = x[(row + 1u) * K4 + k4];
    let x2 = x[(row + 2u) * K4 + k4];
    let x3 = x[(row + 3u) * K4 + k4];
    let block = weight_block(panel, k4);
    var a = weight_quad(block, 0u);
    var b = weight_quad(block, 2u);
    var c = weight_quad(block, 4u);
    var d = weight_quad(block, 6u);
    low0 += x0.x * a + x0.y * b + x0.z * c + x0.w * d;
    low1 += x1.x * a + x1.y * b + x1.z * c + x1.w * d;
    low2 += x2.x * a + x2.y * b + x2.z * c + x2.w * d;
    low3 += x3.x * a + x3.y * b + x3.z * c + x3.w * d;
    a = weight_quad(block, 1u);
    b = weight_quad(block, 3u);
    c = weight_quad(block, 5u);
    d = weight_quad(block, 7u);
    high0 += x0.x * a + x0.y * b + x0.z * c + x0.w * d;
    high1 += x1.x * a + x1.y * b + x1.z * c + x1.w * d;
    high2 += x2.x * a + x2.y * b + x2.z * c + x2.w * d;
    high3 += x3.x * a + x3.y * b + x3.z * c + x3.w * d;
  }
  product_write(row, panel, low0, high0);
  product_write(row + 1u, panel, low1, high1);
  product_write(row + 2u, panel, low2, high2);
  product_write(row + 3u, panel, low3, high3);
}
