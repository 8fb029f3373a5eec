//! What wgpu does not do in a browser: compiling pipelines without blocking, and the adapter's names.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;

use js_sys::{Array, Function, Object, Promise, Reflect};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use super::read_only;
use crate::error::{Error, Result};
use crate::shader::Kernel;

#[wasm_bindgen]
extern "C" {
    /// The browser's own `GPUDevice`.
    type RawDevice;

    #[wasm_bindgen(method, getter, js_name = adapterInfo)]
    fn adapter_info(this: &RawDevice) -> JsValue;

    #[wasm_bindgen(method, js_name = createShaderModule)]
    fn create_shader_module(this: &RawDevice, descriptor: &Object) -> JsValue;

    #[wasm_bindgen(method, js_name = createBindGroupLayout)]
    fn create_bind_group_layout(this: &RawDevice, descriptor: &Object) -> JsValue;

    #[wasm_bindgen(method, js_name = createPipelineLayout)]
    fn create_pipeline_layout(this: &RawDevice, descriptor: &Object) -> JsValue;

    /// `Date` has whole milliseconds only.
    #[wasm_bindgen(js_namespace = performance, js_name = now)]
    pub fn clock_ms() -> f64;

    #[wasm_bindgen(js_name = setTimeout)]
    fn set_timeout(call: &Function, ms: f64);

    #[wasm_bindgen(method, js_name = createComputePipelineAsync)]
    fn create_compute_pipeline_async(this: &RawDevice, descriptor: &Object) -> Promise;

    #[wasm_bindgen(catch, js_namespace = ["navigator", "gpu", "wgslLanguageFeatures"], js_name = has)]
    fn wgsl_has(feature: &str) -> Result<bool, JsValue>;
}

fn raw(device: &wgpu::Device) -> Option<&RawDevice> {
    device.as_webgpu().map(|device| device.unchecked_ref())
}

fn object(fields: &[(&str, JsValue)]) -> Object {
    let object = Object::new();
    for (name, value) in fields {
        // Setting a field of a fresh plain object cannot fail.
        let _ = Reflect::set(&object, &(*name).into(), value);
    }
    object
}

fn text(object: &JsValue, field: &str) -> String {
    Reflect::get(object, &field.into()).ok().and_then(|value| value.as_string()).unwrap_or_default()
}

/// Whether this context has `navigator.gpu`.
pub fn has_webgpu() -> bool {
    let navigator = Reflect::get(&js_sys::global(), &"navigator".into());
    navigator.and_then(|navigator| Reflect::get(&navigator, &"gpu".into())).is_ok_and(|gpu| gpu.is_object())
}

/// The browser and its version, as it names itself.
pub fn runtime() -> String {
    let navigator = Reflect::get(&js_sys::global(), &"navigator".into()).unwrap_or_default();
    if navigator.is_object() { text(&navigator, "userAgent") } else { String::new() }
}

/// Whether kernels may multiply four bytes by four.
pub fn has_integer_dots() -> bool {
    wgsl_has("packed_4x8_integer_dot_product").unwrap_or(false)
}

/// Vendor and architecture, which wgpu does not pass on.
pub fn adapter_names(device: &wgpu::Device) -> (String, String) {
    let info = raw(device).map_or(JsValue::UNDEFINED, RawDevice::adapter_info);
    if !info.is_object() {
        return Default::default();
    }
    (text(&info, "vendor"), text(&info, "architecture"))
}

/// Milliseconds between two looks at what a device has done.
const LOOK_MS: f64 = 1.0;

/// Waits for what the device completes. Firefox looks whether it has once in 100 ms (its bug 1870699) and whenever something is submitted,
/// so nothing is submitted there until it has.
pub async fn woken<T>(mut future: impl Future<Output = T> + Unpin, queue: &wgpu::Queue) -> T {
    if !runtime().contains("Firefox/") {
        return future.await;
    }
    loop {
        let timeout = Promise::new(&mut |resolve, _| set_timeout(&resolve, LOOK_MS));
        let mut timeout = pin!(JsFuture::from(timeout));
        let found = poll_fn(|context| match Pin::new(&mut future).poll(context) {
            Poll::Ready(found) => Poll::Ready(Some(found)),
            Poll::Pending => timeout.as_mut().poll(context).map(|_| None),
        });
        if let Some(found) = found.await {
            return found;
        }
        queue.submit([]);
    }
}

/// A pipeline that the browser has compiled, by its text.
pub struct Prepared {
    text: String,
    pipeline: JsValue,
}

/// Compiles kernels, all at once and without blocking, from the moment of the call.
pub fn compile(
    device: &wgpu::Device,
    kernels: &[&(Kernel, String)],
) -> impl Future<Output = Result<Vec<Prepared>>> + 'static + use<> {
    let start = |device: &RawDevice, (kernel, wgsl): &(Kernel, String)| {
        let entries: Array = (0..)
            .zip(read_only(kernel))
            .map(|(binding, read_only): (u32, bool)| {
                let kind = if read_only { "read-only-storage" } else { "storage" };
                let buffer = object(&[("type", kind.into())]);
                // 4 is `GPUShaderStage.COMPUTE`.
                object(&[("binding", binding.into()), ("visibility", 4.into()), ("buffer", buffer.into())])
            })
            .collect();
        let group = device.create_bind_group_layout(&object(&[("entries", entries.into())]));
        let groups = Array::of1(&group);
        let layout = device.create_pipeline_layout(&object(&[("bindGroupLayouts", groups.into())]));
        let module = device.create_shader_module(&object(&[("code", wgsl.into()), ("label", kernel.name.into())]));
        let stage = object(&[("module", module), ("entryPoint", "main".into())]);
        let descriptor = object(&[("layout", layout), ("compute", stage.into()), ("label", kernel.name.into())]);
        (kernel.name, wgsl.clone(), device.create_compute_pipeline_async(&descriptor))
    };
    let started: Vec<_> =
        raw(device).map_or(Vec::new(), |device| kernels.iter().map(|kernel| start(device, kernel)).collect());
    async move {
        let mut prepared = Vec::with_capacity(started.len());
        for (kernel, text, promise) in started {
            match JsFuture::from(promise).await {
                Ok(pipeline) => prepared.push(Prepared { text, pipeline }),
                Err(error) => {
                    return Err(Error::Shader { kernel: kernel.into(), reason: self::text(&error, "message") });
                }
            }
        }
        Ok(prepared)
    }
}

/// Lets `create` make a pipeline through wgpu, which only knows the blocking call, out of a prepared one: for its
/// duration the device's own `createComputePipeline` hands that out.
pub fn with_prepared<T>(device: &wgpu::Device, prepared: &[Prepared], text: &str, create: impl FnOnce() -> T) -> T {
    let found = prepared.iter().find(|prepared| prepared.text == text);
    let (Some(device), Some(found)) = (raw(device), found) else { return create() };
    let pipeline = found.pipeline.clone();
    let hand_out = Closure::<dyn Fn() -> JsValue>::new(move || pipeline.clone());
    let name = "createComputePipeline".into();
    // Where either fails the browser compiles once more, and nothing else changes.
    let _ = Reflect::set(device, &name, hand_out.as_ref());
    let created = create();
    let _ = Reflect::delete_property(device.unchecked_ref::<Object>(), &name);
    created
}
