//! A value as it is read from a map: one run of bytes, or one for each possible CPU.

/// A value that was read from a map.
#[derive(Clone, PartialEq, Eq)]
pub struct Value {
    bytes: Vec<u8>,
    size: usize,
    per_cpu: bool,
}

impl Value {
    /// `bytes` is what the kernel copies: for a per-CPU map, each CPU's value of `size` bytes, padded to a multiple
    /// of 8.
    pub(super) fn new(bytes: Vec<u8>, size: usize, per_cpu: bool) -> Self {
        Self { bytes, size, per_cpu }
    }

    /// What the kernel copies, in both directions.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether the map keeps a value for each possible CPU.
    pub fn is_per_cpu(&self) -> bool {
        self.per_cpu
    }

    /// The value, where there is only one for all CPUs.
    pub fn single(&self) -> Option<&[u8]> {
        (!self.per_cpu).then_some(&self.bytes[..])
    }

    /// The id that a map of maps or of programs has where an fd was written.
    pub fn id(&self) -> Option<u32> {
        self.single()?.first_chunk().copied().map(u32::from_ne_bytes)
    }

    /// The values, each as long as the map's value size: one for each possible CPU, in order, or the only one.
    pub fn all(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        let stride = if self.per_cpu { self.size.next_multiple_of(8) } else { self.bytes.len() };
        self.bytes.chunks_exact(stride.max(1)).map(|chunk| &chunk[..self.size.min(chunk.len())])
    }
}

impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.all()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_per_cpu_value_leaves_out_the_padding() {
        let value = Value::new(vec![1, 2, 3, 4, 0, 0, 0, 0, 5, 6, 7, 8, 0, 0, 0, 0], 4, true);
        assert_eq!(value.all().collect::<Vec<_>>(), [[1, 2, 3, 4], [5, 6, 7, 8]]);
        assert_eq!(value.single(), None);
    }

    #[test]
    fn a_plain_value_is_the_only_one() {
        let value = Value::new(vec![1, 2, 3], 3, false);
        assert_eq!(value.all().collect::<Vec<_>>(), [[1, 2, 3]]);
        assert_eq!(value.single(), Some(&[1, 2, 3][..]));
    }
}
