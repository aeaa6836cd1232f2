//! Label answers: the most likely text of a closed set.
//!
//! A label's score is `Σ ln p(token | prompt, tokens before)` over its tokens and the end token, added from the first token
//! on in f32. Labels form a tree by their tokens, so a common beginning is computed once; a prompt is computed once and read
//! where it lies, and each level of the tree is one batched forward for several prompts. Sharing changes no bit.

use crate::kernel::{self, LogSoftmax};
use crate::model::{Beginning, KvCache, Step};

use super::engine::{Engine, finite};
use super::groups::Share;
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
    /// Whether every logit was a number; where not, the rest means nothing.
    pub(super) finite: bool,
}

/// A node whose parent is done: which prompt it follows, where its cache starts, and the score up to and with its first token.
struct Pending<'t> {
    node: &'t Node,
    prompt: usize,
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

    /// Tokens of the longest label.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    /// Scores every label after each of some prompts that [`Engine::check_prompt`] accepted.
    pub(super) fn score(&self, engine: &Engine<'_>, prompts: &[&[u32]]) -> Result<Vec<LabelScores>, EvalError> {
        let at_once = Share::of(rayon::current_num_threads()).labels / engine.cache_len_bytes(self.longest);
        self.score_few(engine, prompts, at_once.clamp(1, limits::LABEL_NODES))
    }

    /// As [`LabelTree::score`], with at most `at_once` caches on each level of the tree.
    pub(super) fn score_few(
        &self,
        engine: &Engine<'_>,
        prompts: &[&[u32]],
        at_once: usize,
    ) -> Result<Vec<LabelScores>, EvalError> {
        let prompts: Vec<(&[u32], usize)> = prompts.iter().map(|tokens| (*tokens, 0)).collect();
        let (caches, logits) = engine.prefill(&prompts)?;
        let beginnings: Vec<Beginning> = caches.into_iter().map(KvCache::into_beginning).collect();
        let (mut pending, mut scored) = (Vec::new(), Vec::new());
        for (prompt, logits) in logits.chunks_exact(engine.model.config.vocabulary).enumerate() {
            let likely = LogSoftmax::new(engine.model.level, logits);
            let first = |node| Pending { node, prompt, parent: prompt, score: log_probability(&likely, node.first()) };
            pending.extend(self.roots.iter().map(first));
            scored.push(LabelScores {
                best: 0,
                scores: vec![f32::NEG_INFINITY; self.labels.len()],
                prompt_logits: logits.to_vec(),
                finite: finite(logits),
            });
        }
        let mut walk = Walk { engine, at_once, scored };
        walk.descend(Parents::Prompts(&beginnings), &pending)?;
        walk.scored.iter_mut().for_each(|scored| scored.best = kernel::argmax(&scored.scores));
        Ok(walk.scored)
    }
}

impl Node {
    fn first(&self) -> u32 {
        self.edge.first().copied().unwrap_or(u32::MAX)
    }
}

/// `ln p(token)`, in f32.
fn log_probability(likely: &LogSoftmax<'_>, token: u32) -> f32 {
    likely.of(usize::try_from(token).unwrap_or(usize::MAX))
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

/// What the nodes of a level follow.
#[derive(Clone, Copy)]
enum Parents<'c> {
    Prompts(&'c [Beginning]),
    Nodes(&'c [KvCache]),
}

impl Parents<'_> {
    /// A cache for a node's tokens.
    fn cache(self, pending: &Pending<'_>) -> Option<KvCache> {
        let more = pending.node.edge.len();
        match self {
            Parents::Prompts(prompts) => prompts.get(pending.parent).map(|prompt| prompt.cache(more)),
            Parents::Nodes(nodes) => nodes.get(pending.parent).map(|node| node.with_room(more)),
        }
    }
}

struct Walk<'e, 'a> {
    engine: &'e Engine<'a>,
    at_once: usize,
    scored: Vec<LabelScores>,
}

impl Walk<'_, '_> {
    /// Feeds the pending nodes' tokens, a bounded number of nodes at once, then goes on to their children.
    fn descend(&mut self, parents: Parents<'_>, pending: &[Pending<'_>]) -> Result<(), EvalError> {
        for nodes in pending.chunks(self.at_once) {
            let mut caches: Vec<KvCache> = nodes.iter().filter_map(|node| parents.cache(node)).collect();
            let mut steps: Vec<Step<'_>> =
                nodes.iter().zip(&mut caches).map(|(node, cache)| Step { tokens: &node.node.edge, cache }).collect();
            let rows = self.engine.advance(&mut steps)?;
            drop(steps);
            let children = self.settle(nodes, &rows);
            if !children.is_empty() {
                self.descend(Parents::Nodes(&caches), &children)?;
            }
        }
        Ok(())
    }

    /// Adds what the rows after each node's tokens say: the rest of its edge, its end, its children's first tokens.
    fn settle<'t>(&mut self, nodes: &[Pending<'t>], rows: &[f32]) -> Vec<Pending<'t>> {
        let mut places = nodes
            .iter()
            .enumerate()
            .flat_map(|(parent, pending)| (1..=pending.node.edge.len()).map(move |next| (parent, pending, next)));
        let mut sum = 0.0;
        let mut children = Vec::new();
        let (engine, all) = (self.engine, &mut self.scored);
        engine.for_each_logits(rows, |logits| {
            let Some((parent, pending, next)) = places.next() else { return };
            let Some(scored) = all.get_mut(pending.prompt) else { return };
            scored.finite &= finite(logits);
            let likely = LogSoftmax::new(engine.model.level, logits);
            if next == 1 {
                sum = pending.score;
            }
            if let Some(token) = pending.node.edge.get(next) {
                sum += log_probability(&likely, *token);
                return;
            }
            if let Some(score) = pending.node.label.and_then(|label| scored.scores.get_mut(label)) {
                *score = sum + log_probability(&likely, engine.end);
            }
            for node in &pending.node.children {
                let score = sum + log_probability(&likely, node.first());
                children.push(Pending { node, prompt: pending.prompt, parent, score });
            }
        });
        children
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
