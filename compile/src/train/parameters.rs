//! The parameters that learn: flat vectors, one per group, and the names of the tensors inside them.
//!
//! A group is what one operation of the tape takes as its parameter argument: a transformer block, the embedding, the final norm.
//! Whatever walks all tensors (hash, norm, checkpoint) walks them in ascending byte order of their names.

use std::ops::Range;

use sha2::{Digest, Sha256};

/// One tensor inside a group's flat vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    /// Full name as in the file it ends in.
    pub(crate) name: String,
    /// Its shape.
    pub(crate) shape: Vec<usize>,
    /// Where its values lie in the flat vector.
    pub(crate) range: Range<usize>,
}

/// Names and places of all tensors of a group, in the order of the flat vector.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    /// The tensors.
    pub(crate) slots: Vec<Slot>,
}

impl Layout {
    /// Lays tensors one after another.
    pub(crate) fn new(tensors: impl IntoIterator<Item = (String, Vec<usize>)>) -> Self {
        let mut start = 0;
        let slots = tensors
            .into_iter()
            .map(|(name, shape)| {
                let range = start..start + shape.iter().product::<usize>();
                start = range.end;
                Slot { name, shape, range }
            })
            .collect();
        Self { slots }
    }

    /// Values in the flat vector.
    pub(crate) fn len(&self) -> usize {
        self.slots.last().map_or(0, |slot| slot.range.end)
    }

    /// Place of the tensor of this name.
    pub(crate) fn named(&self, name: &str) -> Option<Range<usize>> {
        self.slots.iter().find(|slot| slot.name == name).map(|slot| slot.range.clone())
    }

    /// Place of the tensor whose name ends with `suffix`.
    pub(crate) fn range(&self, suffix: &str) -> Option<Range<usize>> {
        self.slots.iter().find(|slot| slot.name.ends_with(suffix)).map(|slot| slot.range.clone())
    }
}

/// All groups of a run.
#[derive(Clone, Debug)]
pub(crate) struct Parameters {
    /// Places, group by group.
    pub(crate) layouts: Vec<Layout>,
    /// Values, group by group.
    pub(crate) values: Vec<Vec<f32>>,
    order: Vec<(usize, usize)>,
}

impl Parameters {
    /// Joins layouts with their values.
    pub(crate) fn new(layouts: Vec<Layout>, values: Vec<Vec<f32>>) -> Self {
        assert_eq!(layouts.len(), values.len(), "one flat vector per group");
        for (layout, flat) in layouts.iter().zip(&values) {
            assert_eq!(layout.len(), flat.len(), "a flat vector is as long as its layout says");
        }
        let mut order: Vec<(usize, usize)> = layouts
            .iter()
            .enumerate()
            .flat_map(|(group, layout)| (0..layout.slots.len()).map(move |slot| (group, slot)))
            .collect();
        order.sort_by(|&(g, s), &(h, t)| layouts[g].slots[s].name.cmp(&layouts[h].slots[t].name));
        Self { layouts, values, order }
    }

    /// Every tensor's group and slot, in name order.
    pub(crate) fn in_name_order(&self) -> impl Iterator<Item = (usize, &Slot)> {
        self.order.iter().map(|&(group, slot)| (group, &self.layouts[group].slots[slot]))
    }

    /// SHA-256 over the f32 little-endian bytes of every tensor in name order, of these parameters or of anything shaped like them.
    pub(crate) fn sha256(&self, values: &[Vec<f32>]) -> [u8; 32] {
        let mut hasher = Sha256::new();
        let mut bytes = Vec::new();
        for (group, slot) in self.in_name_order() {
            for chunk in values[group][slot.range.clone()].chunks(16_384) {
                bytes.clear();
                bytes.extend(chunk.iter().flat_map(|value| value.to_le_bytes()));
                hasher.update(&bytes);
            }
        }
        hasher.finalize().into()
    }

    /// Zeros shaped like these parameters.
    pub(crate) fn zeros(&self) -> Vec<Vec<f32>> {
        self.values.iter().map(|flat| vec![0.0; flat.len()]).collect()
    }
}

/// Lower-case hex digits of `bytes`.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
