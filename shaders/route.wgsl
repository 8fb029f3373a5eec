// The TOP experts of every token with their weights, the best first: a softmax over all of them, of which the largest
// values are taken as they are. Of equal scores the first counts. One invocation a token.
@group(0) @binding(1) var<storage, read> scores: array<f32>;     // [tokens, STRIDE]
@group(0) @binding(2) var<storage, read_write> out: array<f32>;  // [tokens, OUT_STRIDE]: expert, weight, expert, weight …

@compute @workgroup_size(GROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let token = id.x;
  if token >= frame_tokens() {
    return;
  }
  var highest = scores[token * STRIDE];
  for (var expert = 1u; expert < EXPERTS; expert++) {
    highest = max(highest, scores[token * STRIDE + expert]);
  }
  var total = 0.0;
  for (var expert = 0u; expert < EXPERTS; expert++) {
    total += exp(scores[token * STRIDE + expert] - highest);
  }
  // Each choice is the best of those that come after the last one.
  var last = 0u;
  for (var choice = 0u; choice < TOP; choice++) {
    var best = EXPERTS;
    var best_score = 0.0;
    for (var expert = 0u; expert < EXPERTS; expert++) {
      let score = scores[token * STRIDE + expert];
      let last_score = scores[token * STRIDE + last];
      let left = choice == 0u || score < last_score || (score == last_score && expert > last);
      if left && (best == EXPERTS || score > best_score) {
        best = expert;
        best_score = score;
      }
    }
    last = min(best, EXPERTS - 1u);
    out[token * OUT_STRIDE + 2u * choice] = f32(last);
    out[token * OUT_STRIDE + 2u * choice + 1u] = exp(best_score - highest) / total;
  }
  for (var column = 2u * TOP; column < OUT_STRIDE; column++) {
    out[token * OUT_STRIDE + column] = 0.0;
  }
}
