//! Label answers: the most likely text of a closed set.
//!
//! A label's score is `Σ ln p(token | prompt, tokens before)` over its tokens and the end token, added from the first token
//! on in f32. Labels form a tree by their tokens, so a common beginning is computed once; the prompt is computed once, and
//! each level of the tree is one batched forward over copies of the cache. Sharing changes no bit.

use crate::kernel;
use crate::model::{KvCache, Step};

use super::engine::Engine;
use super::{EvalError, limits};

/// The labels of a set as token sequences, joined where they begin alike.
pub(super) struct LabelTree {
    labels: Vec<(String, Vec<u32>)>,
    roots: Vec<Node>,
    /// Tokens of the longest label, the end token not counted: it is scored, never fed.
    longest: usize,
}

struct Node {
    /// Tokens from the parent to here; never empty.
    edge: Vec<u32>,
    /// The label that ends here.
    label: Option<usize>,
    children: Vec<Node>,
}

/// How a prompt's labels scored.
pub(super) struct LabelScores {
    /// Index of the chosen label: highest score, ties to the lowest index.
    pub(super) best: usize,
    /// One score for each label.
    pub(super) scores: Vec<f32>,
    /// The logits after the prompt.
    pub(super) prompt_logits: Vec<f32>,
}

/// A node whose parent is done: where its cache starts, and the score up to and with its first token.
struct Pending<'t> {
    node: &'t Node,
    parent: usize,
    score: f32,
}

impl LabelTree {
    /// Builds the tree of labels and their tokens.
    pub(super) fn new(labels: Vec<(String, Vec<u32>)>) -> Result<LabelTree, EvalError> {
        if let Some((label, _)) = labels.iter().find(|(_, tokens)| tokens.is_empty()) {
            return Err(EvalError::LabelWithoutTokens { label: label.clone() });
        }
        let mut sorted: Vec<(&[u32], usize)> =
            labels.iter().enumerate().map(|(index, (_, tokens))| (tokens.as_slice(), index)).collect();
        sorted.sort();
        for (left, right) in sorted.iter().zip(sorted.iter().skip(1)) {
            if left.0 == right.0 {
                let name = |index: usize| labels.get(index).map(|(label, _)| label.clone()).unwrap_or_default();
                return Err(EvalError::LabelsShareTokens { first: name(left.1), second: name(right.1) });
            }
        }
        let roots = branch(&sorted);
        let longest = labels.iter().map(|(_, tokens)| tokens.len()).max().unwrap_or(0);
        Ok(LabelTree { labels, roots, longest })
    }

    /// A label and its tokens.
    pub(super) fn label(&self, index: usize) -> Option<(&str, &[u32])> {
        self.labels.get(index).map(|(label, tokens)| (label.as_str(), tokens.as_slice()))
    }

    /// Scores every label after a prompt.
    pub(super) fn score(&self, engine: &Engine<'_>, id: &str, prompt: &[u32]) -> Result<LabelScores, EvalError> {
        let cache_len_bytes = engine.cache_len_bytes(prompt.len() + self.longest);
        self.score_few(engine, id, prompt, (limits::LABEL_CACHE_LEN_BYTES / cache_len_bytes).max(1))
    }

    /// As [`LabelTree::score`], with at most `at_once` copies of the cache on each level of the tree.
    pub(super) fn score_few(
        &self,
        engine: &Engine<'_>,
        id: &str,
        prompt: &[u32],
        at_once: usize,
    ) -> Result<LabelScores, EvalError> {
        engine.check_length(id, prompt, self.longest)?;
        let (cache, prompt_logits) = engine.prefill(id, prompt, self.longest)?;
        let first = |node: &Node| node.edge.first().map_or(0.0, |token| engine.log_probability(&prompt_logits, *token));
        let pending = self.roots.iter().map(|node| Pending { node, parent: 0, score: first(node) }).collect();
        let mut walk = Walk { engine, id, at_once, scores: vec![f32::NEG_INFINITY; self.labels.len()] };
        walk.descend(&[cache], pending)?;
        let best = kernel::argmax(&walk.scores);
        Ok(LabelScores { best, scores: walk.scores, prompt_logits })
    }
}

/// Groups sorted, distinct token sequences by their first token; a group's common beginning becomes one edge.
fn branch(sorted: &[(&[u32], usize)]) -> Vec<Node> {
    let mut nodes = Vec::new();
    for group in sorted.chunk_by(|left, right| left.0.first() == right.0.first()) {
        let (Some((first, index)), Some((last, _))) = (group.first(), group.last()) else { continue };
        let shared = first.iter().zip(*last).take_while(|(left, right)| left == right).count();
        let (edge, rest) = first.split_at(shared);
        let label = rest.is_empty().then_some(*index);
        let longer: Vec<(&[u32], usize)> = group
            .iter()
            .skip(usize::from(label.is_some()))
            .filter_map(|(tokens, index)| Some((tokens.get(shared..)?, *index)))
            .collect();
        nodes.push(Node { edge: edge.to_vec(), label, children: branch(&longer) });
    }
    nodes
}

struct Walk<'e, 'a> {
    engine: &'e Engine<'a>,
    id: &'e str,
    at_once: usize,
    scores: Vec<f32>,
}

impl Walk<'_, '_> {
    /// Feeds the pending nodes' tokens, a bounded number of nodes at once, then goes on to their children.
    fn descend(&mut self, parents: &[KvCache], pending: Vec<Pending<'_>>) -> Result<(), EvalError> {
        for nodes in pending.chunks(self.at_once) {
            let mut caches: Vec<KvCache> = nodes.iter().filter_map(|node| parents.get(node.parent).cloned()).collect();
            let mut steps: Vec<Step<'_>> =
                nodes.iter().zip(&mut caches).map(|(node, cache)| Step { tokens: &node.node.edge, cache }).collect();
            let rows = self.engine.advance(&mut steps)?;
            drop(steps);
            let children = self.settle(nodes, &rows)?;
            if !children.is_empty() {
                self.descend(&caches, children)?;
            }
        }
        Ok(())
    }

    /// Adds what the rows after each node's tokens say: the rest of its edge, its end, its children's first tokens.
    fn settle<'t>(&mut self, nodes: &[Pending<'t>], rows: &[f32]) -> Result<Vec<Pending<'t>>, EvalError> {
        let mut places = nodes
            .iter()
            .enumerate()
            .flat_map(|(parent, pending)| (1..=pending.node.edge.len()).map(move |next| (parent, pending, next)));
        let mut sum = 0.0;
        let mut children = Vec::new();
        let (engine, scores) = (self.engine, &mut self.scores);
        engine.for_each_logits(self.id, rows, |logits| {
            let Some((parent, pending, next)) = places.next() else { return };
            if next == 1 {
                sum = pending.score;
            }
            if let Some(token) = pending.node.edge.get(next) {
                sum += engine.log_probability(logits, *token);
                return;
            }
            if let Some(score) = pending.node.label.and_then(|label| scores.get_mut(label)) {
                *score = sum + engine.log_probability(logits, engine.end);
            }
            for node in &pending.node.children {
                let first = node.edge.first().map_or(0.0, |token| engine.log_probability(logits, *token));
                children.push(Pending { node, parent, score: sum + first });
            }
        })?;
        Ok(children)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(labels: &[&[u32]]) -> Result<LabelTree, EvalError> {
        LabelTree::new(
            labels.iter().enumerate().map(|(index, tokens)| (format!("l{index}"), tokens.to_vec())).collect(),
        )
    }

    fn show(nodes: &[Node]) -> String {
        let one = |node: &Node| {
            format!(
                "{:?}{}{}",
                node.edge,
                node.label.map_or(String::new(), |label| format!("={label}")),
                show(&node.children)
            )
        };
        if nodes.is_empty() {
            String::new()
        } else {
            format!("({})", nodes.iter().map(one).collect::<Vec<_>>().join(" "))
        }
    }

    #[test]
    fn common_beginnings_become_one_edge() {
        let check = |labels: &[&[u32]], expected: &str| assert_eq!(show(&tree(labels).unwrap().roots), expected);
        check(&[&[1, 2], &[3]], "([1, 2]=0 [3]=1)");
        check(&[&[1, 2, 3], &[1, 2, 4], &[1, 2]], "([1, 2]=2([3]=0 [4]=1))");
        check(&[&[7, 8, 9], &[7, 8, 1, 2], &[7, 8, 1, 3], &[6]], "([6]=3 [7, 8]([1]([2]=1 [3]=2) [9]=0))");
        assert_eq!(tree(&[&[1, 2, 3], &[1]]).unwrap().longest, 3);
    }

    #[test]
    fn labels_a_model_cannot_tell_apart() {
        let check = |labels: &[&[u32]], code: &str| assert_eq!(tree(labels).err().unwrap().code(), code);
        check(&[&[1], &[]], "label_without_tokens");
        check(&[&[1, 2], &[3], &[1, 2]], "labels_share_tokens");
    }
}
