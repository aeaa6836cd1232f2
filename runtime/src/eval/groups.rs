//! Which cases are answered together: such as begin alike, no more than fit into memory at once.

use super::{Case, limits};

/// A case, its place in the pack and its prompt's tokens.
pub(super) struct Question<'p> {
    pub(super) row: usize,
    pub(super) case: &'p Case,
    pub(super) tokens: Vec<u32>,
}

/// What one group may hold.
pub(super) struct Bounds {
    /// Cases, at least one.
    pub(super) cases: usize,
    /// Key and value bytes; one case may need more by itself.
    pub(super) cache_len_bytes: usize,
}

/// Key and value bytes that one group may hold, by what they belong to.
pub(super) struct Share {
    /// Prompts of label cases.
    pub(super) prompts: usize,
    /// Labels after them.
    pub(super) labels: usize,
    /// Generated answers with their prompts.
    pub(super) texts: usize,
}

impl Share {
    /// What each of so many groups answered at once may hold: more threads do not make a replay take more memory for it.
    pub(super) fn of(threads: usize) -> Share {
        let share = limits::CACHES_LEN_BYTES / threads.max(1);
        Share {
            prompts: limits::PROMPT_CACHE_LEN_BYTES.min(share / 4 * 3),
            labels: limits::LABEL_CACHE_LEN_BYTES.min(share / 4),
            texts: limits::GENERATION_CACHE_LEN_BYTES.min(share),
        }
    }
}

/// Orders questions by their tokens and cuts them into groups, each within its bounds by `bytes` of a number of tokens.
pub(super) fn group<'p>(
    mut questions: Vec<Question<'p>>,
    bounds: &Bounds,
    bytes: impl Fn(usize) -> usize,
) -> Vec<Vec<Question<'p>>> {
    questions.sort_by(|left, right| left.tokens.cmp(&right.tokens));
    let mut groups: Vec<Vec<Question<'p>>> = Vec::new();
    let mut held = 0;
    for question in questions {
        let own = bytes(question.tokens.len());
        match groups.last_mut() {
            Some(open) if open.len() < bounds.cases && own <= bounds.cache_len_bytes.saturating_sub(held) => {
                held += own;
                open.push(question);
            }
            _ => {
                held = own;
                groups.push(vec![question]);
            }
        }
    }
    groups
}

/// Neighbouring prompts, and how many tokens they begin with that are computed once for all of them.
#[derive(PartialEq, Debug)]
pub(super) struct Run<'t> {
    /// Tokens of the first.
    pub(super) first: &'t [u32],
    /// Prompts.
    pub(super) count: usize,
    /// Shared tokens; each prompt has at least one more. 0 where nothing is shared.
    pub(super) shared: usize,
}

/// Cuts prompts into runs, each as long as one more neighbour saves tokens.
pub(super) fn shared_runs<'t>(prompts: impl Iterator<Item = &'t [u32]>) -> Vec<Run<'t>> {
    let mut runs: Vec<Run<'t>> = Vec::new();
    for tokens in prompts {
        let own = tokens.len().saturating_sub(1);
        if let Some(open) = runs.last_mut() {
            let room = if open.count == 1 { open.first.len().saturating_sub(1) } else { open.shared };
            let same = open.first.iter().zip(tokens).take(room.min(own)).take_while(|(left, right)| left == right);
            let shared = same.count();
            if shared >= limits::SHARED_TOKENS && shared * open.count >= open.shared * (open.count - 1) {
                (open.count, open.shared) = (open.count + 1, shared);
                continue;
            }
        }
        runs.push(Run { first: tokens, count: 1, shared: 0 });
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::Metric;

    fn check(prompts: &[&[u32]], cases: usize, cache_len_bytes: usize, expected: &[&[usize]]) {
        let case = Case {
            id: "1".to_owned(),
            prompt: "w1".to_owned(),
            expected: "w2".to_owned(),
            weight: 1,
            metric: Metric::Exact,
        };
        let questions = prompts
            .iter()
            .enumerate()
            .map(|(row, tokens)| Question { row, case: &case, tokens: tokens.to_vec() })
            .collect();
        let groups = group(questions, &Bounds { cases, cache_len_bytes }, |tokens| tokens);
        let rows: Vec<Vec<usize>> =
            groups.iter().map(|group| group.iter().map(|question| question.row).collect()).collect();
        assert_eq!(rows, expected);
    }

    #[test]
    fn threads_share_one_budget() {
        for threads in 1..=300 {
            let share = Share::of(threads);
            assert!((share.prompts + share.labels) * threads <= limits::CACHES_LEN_BYTES, "{threads} threads");
            assert!(share.texts * threads <= limits::CACHES_LEN_BYTES, "{threads} threads");
            assert!(share.labels > 0 && share.prompts > share.labels && share.texts > share.prompts);
        }
        let two = Share::of(2);
        assert_eq!(two.prompts, limits::PROMPT_CACHE_LEN_BYTES);
        assert_eq!((two.labels, two.texts), (limits::LABEL_CACHE_LEN_BYTES, limits::GENERATION_CACHE_LEN_BYTES));
        let sixteen = Share::of(16);
        assert_eq!((sixteen.prompts, sixteen.labels, sixteen.texts), (24 << 20, 8 << 20, 32 << 20));
    }

    #[test]
    fn what_begins_alike_stands_together() {
        check(&[&[5, 1], &[7, 1], &[5, 2], &[7], &[5, 1]], 9, 100, &[&[0, 4, 2, 3, 1]]);
        check(&[&[5, 1], &[7, 1], &[5, 2], &[7], &[5, 1]], 3, 100, &[&[0, 4, 2], &[3, 1]]);
        check(&[&[1]], 1, 0, &[&[0]]);
        check(&[], 1, 1, &[]);
    }

    #[test]
    fn a_group_keeps_within_its_bytes() {
        check(&[&[1, 2, 3], &[2, 2], &[3]], 9, 5, &[&[0, 1], &[2]]);
        check(&[&[1, 2, 3], &[2, 2], &[3]], 9, 2, &[&[0], &[1], &[2]]);
        check(&[&[1, 2, 3], &[2], &[3]], 9, 2, &[&[0], &[1, 2]]);
    }

    #[test]
    fn neighbours_share_what_saves_most() {
        let long: Vec<u32> = (0..30).collect();
        let with = |len: usize, own: &[u32]| [&long[..len], own].concat();
        let check = |prompts: &[Vec<u32>], expected: &[(usize, usize)]| {
            let runs = shared_runs(prompts.iter().map(Vec::as_slice));
            assert_eq!(runs.iter().map(|run| (run.count, run.shared)).collect::<Vec<_>>(), expected);
        };
        check(&[], &[]);
        check(&[vec![1]], &[(1, 0)]);
        check(&[long.clone(), long.clone(), long.clone()], &[(3, 29)]);
        check(&[with(20, &[]), with(20, &[70]), long.clone()], &[(3, 19)]);
        check(&[vec![1], vec![1], vec![2]], &[(1, 0), (1, 0), (1, 0)]);
        check(&[with(7, &[60]), with(7, &[61])], &[(1, 0), (1, 0)]);
        check(&[with(8, &[60]), with(8, &[61])], &[(2, 8)]);
        // Two share 28 tokens, all three 9: the pair saves more, four that share 20 beside it do not break up for it.
        check(&[with(28, &[60]), with(28, &[61]), with(9, &[60])], &[(2, 28), (1, 0)]);
        check(&[with(28, &[60]), with(28, &[61]), with(20, &[60]), with(20, &[61])], &[(4, 20)]);
    }
}
