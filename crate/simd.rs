//! Eight f32 lanes: two wasm vectors in the browser, an array that the compiler vectorises natively.
//!
//! The browser's lanes are spelled out so that the inner loop does not depend on what an optimiser finds.

/// Eight values that are worked on together.
#[derive(Clone, Copy)]
pub struct F32x8(Lanes);

#[cfg(not(target_arch = "wasm32"))]
type Lanes = [f32; 8];
#[cfg(target_arch = "wasm32")]
type Lanes = [core::arch::wasm32::v128; 2];

#[cfg(not(target_arch = "wasm32"))]
impl F32x8 {
    /// The same value in every lane.
    #[inline(always)]
    pub fn splat(value: f32) -> Self {
        Self([value; 8])
    }

    /// Eight values in order.
    #[inline(always)]
    pub fn load(values: &[f32; 8]) -> Self {
        Self(*values)
    }

    /// Stores the lanes in order.
    #[inline(always)]
    pub fn store(self, values: &mut [f32; 8]) {
        *values = self.0;
    }

    /// `self + a * b`, rounded twice.
    #[inline(always)]
    pub fn mul_add(self, a: Self, b: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane] + a.0[lane] * b.0[lane]))
    }
}

#[cfg(target_arch = "wasm32")]
impl F32x8 {
    /// The same value in every lane.
    #[inline(always)]
    pub fn splat(value: f32) -> Self {
        use core::arch::wasm32::f32x4_splat;
        Self([f32x4_splat(value); 2])
    }

    /// Eight values in order.
    #[inline(always)]
    pub fn load(values: &[f32; 8]) -> Self {
        Self(bytemuck::cast(*values))
    }

    /// Stores the lanes in order.
    #[inline(always)]
    pub fn store(self, values: &mut [f32; 8]) {
        *values = bytemuck::cast(self.0);
    }

    /// `self + a * b`, rounded twice.
    #[inline(always)]
    pub fn mul_add(self, a: Self, b: Self) -> Self {
        use core::arch::wasm32::{f32x4_add, f32x4_mul};
        let low = f32x4_add(self.0[0], f32x4_mul(a.0[0], b.0[0]));
        Self([low, f32x4_add(self.0[1], f32x4_mul(a.0[1], b.0[1]))])
    }
}
