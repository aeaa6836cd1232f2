//! The fixed binary tree that adds the examples of a step.
//!
//! Sum of one example: itself. Sum of n > 1 examples: the sum of the first p plus the sum of the rest, p the largest power of two
//! below n. Examples arrive in index order and at most ⌊log₂ n⌋ + 1 partial sums are held (a binary counter), so the shape never
//! depends on how many were computed at once. NUMERICS.md, "Training", clause T3.

/// Adds values pushed in index order by the fixed tree.
pub(crate) struct Tree<T> {
    partial: Vec<(u32, T)>,
}

impl<T> Tree<T> {
    /// Starts an empty sum.
    pub(crate) fn new() -> Self {
        Self { partial: Vec::new() }
    }

    /// Takes the next value; `add(left, right)` adds the right value into the left one.
    pub(crate) fn push(&mut self, value: T, add: &mut impl FnMut(&mut T, &T)) {
        let mut value = value;
        let mut height = 0;
        while self.partial.last().is_some_and(|&(top, _)| top == height) {
            if let Some((_, mut left)) = self.partial.pop() {
                add(&mut left, &value);
                value = left;
                height += 1;
            }
        }
        self.partial.push((height, value));
    }

    /// Closes the sum: `None` when nothing was pushed.
    pub(crate) fn finish(mut self, add: &mut impl FnMut(&mut T, &T)) -> Option<T> {
        let (_, mut right) = self.partial.pop()?;
        while let Some((_, mut left)) = self.partial.pop() {
            add(&mut left, &right);
            right = left;
        }
        Some(right)
    }
}

#[cfg(test)]
mod tests {
    use super::Tree;

    fn recursive(items: &[String]) -> String {
        if items.len() == 1 {
            return items[0].clone();
        }
        let mut left = 1;
        while left * 2 < items.len() {
            left *= 2;
        }
        format!("({}+{})", recursive(&items[..left]), recursive(&items[left..]))
    }

    #[test]
    fn counter_builds_the_tree_of_the_definition() {
        let mut add = |left: &mut String, right: &String| *left = format!("({left}+{right})");
        for count in 1..40 {
            let items: Vec<String> = (0..count).map(|i| i.to_string()).collect();
            let mut tree = Tree::new();
            for item in &items {
                tree.push(item.clone(), &mut add);
            }
            assert_eq!(tree.finish(&mut add), Some(recursive(&items)));
        }
        assert_eq!(Tree::<String>::new().finish(&mut add), None);
    }
}
