//! Memory for what networks compute, used again from operation to operation.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use burn::tensor::{AllocationProperty, Bytes, DType, Device, Tensor, TensorData};
use memmap2::MmapMut;

/// From this size on, memory is mapped and used again, in large pages where it has some.
const LARGE: usize = 256 << 10;
/// A page of the large kind.
const LARGE_PAGE: usize = 2 << 20;
/// Bytes of unused memory that are kept for the next tensors. It is what a block of the widest networks had in use at once, so
/// keeping it takes no more memory than the block did.
const MAX_KEPT: usize = 1 << 30;

/// How long a tensor will need its memory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lifetime {
    /// For one operation: memory that is larger than needed does as well.
    Operation,
    /// As long as the network.
    Network,
}

/// Memory to be filled with the numbers of a tensor, all of them: at first it holds anything.
///
/// What a block of a network computes takes a hundred megabytes, each read by the next operation and not needed any more. The
/// operating system hands memory out page by page and clears it, which takes longer than many an operation. So large pages are
/// asked for where there are some, and memory that is not needed any more is kept for the next tensor of about its size.
pub(super) struct LargeBuffer {
    /// `None` only while it is dropped.
    mapping: Option<MmapMut>,
}

/// Mappings that no tensor uses now, the longest unused first.
static KEPT: Mutex<VecDeque<MmapMut>> = Mutex::new(VecDeque::new());

impl LargeBuffer {
    /// Memory of at least `len` bytes. `None` for small ones, which any allocator serves as well, and where memory cannot be mapped.
    fn new(len: usize, lifetime: Lifetime) -> Option<Self> {
        if len < LARGE {
            return None;
        }
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        let suits = |mapping: &MmapMut| match lifetime {
            Lifetime::Operation => (len..=2 * len).contains(&mapping.len()),
            Lifetime::Network => mapping.len() == len,
        };
        let smallest = (0..kept.len()).filter(|&index| suits(&kept[index])).min_by_key(|&index| kept[index].len());
        let used_before = smallest.and_then(|index| kept.remove(index));
        drop(kept);
        if let Some(mapping) = used_before {
            return Some(Self { mapping: Some(mapping) });
        }
        let mapping = MmapMut::map_anon(len).ok()?;
        #[cfg(target_os = "linux")]
        if len >= LARGE_PAGE
            && let Err(error) = mapping.advise(memmap2::Advice::HugePage)
        {
            // The mapping is then as good as any other memory.
            tracing::debug!("no large pages: {error}");
        }
        Some(Self { mapping: Some(mapping) })
    }

    fn bytes(&mut self, len: usize) -> &mut [u8] {
        self.mapping.as_deref_mut().map_or(&mut [], |bytes| &mut bytes[..len])
    }

    /// A tensor that owns this memory, of numbers in the type `dtype`.
    fn into_tensor<const D: usize>(self, shape: [usize; D], dtype: DType, device: &Device) -> Tensor<D> {
        let len = shape.iter().product::<usize>() * dtype.size();
        let bytes = bytes::Bytes::from_owner(self).slice(..len);
        let data = TensorData::from_bytes(Bytes::from_shared(bytes, AllocationProperty::Other), shape, dtype);
        Tensor::from_data(data, (device, dtype))
    }
}

impl AsRef<[u8]> for LargeBuffer {
    fn as_ref(&self) -> &[u8] {
        self.mapping.as_deref().unwrap_or_default()
    }
}

impl Drop for LargeBuffer {
    fn drop(&mut self) {
        let Some(mapping) = self.mapping.take() else { return };
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_back(mapping);
        let mut bytes: usize = kept.iter().map(|mapping| mapping.len()).sum();
        while bytes > MAX_KEPT
            && let Some(oldest) = kept.pop_front()
        {
            bytes -= oldest.len();
        }
    }
}

/// A tensor in the type `dtype` for as long as the network lives, whose bytes `fill` writes.
pub(super) fn filled<const D: usize>(
    shape: [usize; D],
    dtype: DType,
    device: &Device,
    fill: impl FnOnce(&mut [u8]),
) -> Tensor<D> {
    let len = shape.iter().product::<usize>() * dtype.size();
    let Some(mut buffer) = LargeBuffer::new(len, Lifetime::Network) else {
        let mut bytes = vec![0; len];
        fill(&mut bytes);
        let data = TensorData::from_bytes(Bytes::from_bytes_vec(bytes), shape, dtype);
        return Tensor::from_data(data, (device, dtype));
    };
    fill(buffer.bytes(len));
    buffer.into_tensor(shape, dtype, device)
}

/// Memory for the numbers of a tensor in f32 that one operation reads: they hold anything at first.
pub(super) enum Numbers {
    Large(LargeBuffer, usize),
    Small(Vec<f32>),
}

impl Numbers {
    pub(super) fn new(len: usize) -> Self {
        match LargeBuffer::new(len * size_of::<f32>(), Lifetime::Operation) {
            Some(buffer) => Self::Large(buffer, len),
            None => Self::Small(vec![0.0; len]),
        }
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [f32] {
        match self {
            Self::Large(buffer, len) => bytemuck::cast_slice_mut(buffer.bytes(*len * size_of::<f32>())),
            Self::Small(numbers) => numbers,
        }
    }

    pub(super) fn into_tensor<const D: usize>(self, shape: [usize; D], device: &Device) -> Tensor<D> {
        match self {
            Self::Large(buffer, _) => buffer.into_tensor(shape, DType::F32, device),
            Self::Small(numbers) => Tensor::from_data(TensorData::new(numbers, shape), (device, DType::F32)),
        }
    }
}

/// A tensor in f32 for one operation, whose numbers `fill` writes.
pub(super) fn filled_f32<const D: usize>(shape: [usize; D], device: &Device, fill: impl FnOnce(&mut [f32])) -> Tensor<D> {
    let mut numbers = Numbers::new(shape.iter().product());
    fill(numbers.as_mut_slice());
    numbers.into_tensor(shape, device)
}

/// Give the memory that is kept between operations back to the operating system. It comes again when needed.
pub(super) fn release_memory() {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner).clear();
    diffusion_kernels::release_scratch();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_and_never_shared() {
        let device = Device::flex();
        let shape = [3, LARGE];
        let ones = filled_f32::<2>(shape, &device, |values| values.fill(1.0));
        let twos = filled_f32::<2>(shape, &device, |values| values.fill(2.0));
        assert_eq!(ones.clone().sum().into_scalar::<f32>(), (3 * LARGE) as f32);
        drop(ones);
        // In the memory of the first, which is larger.
        let threes = filled_f32::<2>([2, LARGE], &device, |values| values.fill(3.0));
        // Of fewer numbers than is worth keeping.
        let ones = filled_f32::<1>([7], &device, |values| values.fill(1.0));
        assert_eq!(twos.sum().into_scalar::<f32>(), (6 * LARGE) as f32);
        assert_eq!(threes.sum().into_scalar::<f32>(), (6 * LARGE) as f32);
        assert_eq!(ones.sum().into_scalar::<f32>(), 7.0);
        release_memory();
        let small = filled::<1>([5], DType::BF16, &device, |bytes| bytes.fill(0));
        assert_eq!(small.dims(), [5]);
    }
}
