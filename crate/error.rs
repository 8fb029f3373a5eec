//! The one error type. Variants say who can mend it: the model folder, the caller, or the device.
//! Every variant has a stable [`Error::code`] and a message that ends in what to do.

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong in embedlet.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    // The model folder.
    /// A file that the folder must have is absent.
    #[error("the model folder has no {path}: check the address, or the list of files that was given")]
    MissingFile {
        /// Path inside the model folder.
        path: String,
    },
    /// A file is not what its name says.
    #[error("{path} cannot be read: {reason}")]
    InvalidFile {
        /// Path inside the model folder.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The server answered with a web page, usually its own "not found" page.
    #[error(
        "{path} is a web page, not a model file: the server answered HTML, so check the address of the model folder"
    )]
    HtmlInsteadOfFile {
        /// Path inside the model folder.
        path: String,
    },
    /// Fewer or more bytes than the file's own header declares.
    #[error("{path} has {found} bytes where its header declares {expected}: fetch it again")]
    TruncatedFile {
        /// Path inside the model folder.
        path: String,
        /// Bytes by the header.
        expected: u64,
        /// Bytes received.
        found: u64,
    },
    /// The bytes are not those the caller asked for.
    #[error(
        "{path} has sha256 {found} where {expected} was asked for: the file changed or was damaged, fetch it again or correct `integrity`"
    )]
    WrongHash {
        /// Path inside the model folder.
        path: String,
        /// Asked for, 64 hex digits.
        expected: String,
        /// Computed, 64 hex digits.
        found: String,
    },
    /// A tensor that the configuration implies is not in the checkpoint.
    #[error("the checkpoint has no tensor {name}: config.json and the weights do not belong together")]
    MissingTensor {
        /// Full name, prefix included.
        name: String,
    },
    /// A tensor has another shape than the configuration implies.
    #[error("tensor {name} has shape {found:?} where config.json implies {expected:?}")]
    WrongShape {
        /// Full name, prefix included.
        name: String,
        /// Shape by the configuration.
        expected: Vec<usize>,
        /// Shape in the checkpoint.
        found: Vec<usize>,
    },
    /// A tensor is stored in a type that is not read.
    #[error("tensor {name} is stored as {dtype}: embedlet reads F32, F16 and BF16")]
    UnsupportedDtype {
        /// Full name, prefix included.
        name: String,
        /// The type as safetensors names it.
        dtype: String,
    },
    /// No architecture of this name is known.
    #[error("model_type \"{model_type}\" is not supported: the README lists the architectures that are")]
    UnsupportedArchitecture {
        /// As in `config.json`, cut to a printable length.
        model_type: String,
    },
    /// A setting of the folder that would change the vectors and is not implemented.
    #[error("{option} = {value} is not supported by embedlet")]
    UnsupportedOption {
        /// File and key.
        option: String,
        /// The value found, cut to a printable length.
        value: String,
    },
    /// A number that is out of all proportion, refused before anything is allocated.
    #[error("{what} is {found}, more than embedlet accepts ({limit})")]
    LimitExceeded {
        /// What was counted.
        what: String,
        /// The count.
        found: u64,
        /// The largest accepted.
        limit: u64,
    },
    /// The tokenizer made an id that the embedding table does not have.
    #[error("token id {id} is past the vocabulary of {vocab}: tokenizer.json and config.json do not belong together")]
    TokenOutOfRange {
        /// The id.
        id: u32,
        /// Rows of the table.
        vocab: usize,
    },
    /// `tokenizer.json` is refused.
    #[error("tokenizer.json is not usable: {reason}")]
    InvalidTokenizer {
        /// What is wrong with it.
        reason: String,
    },

    // The caller.
    /// An argument that cannot be meant.
    #[error("{reason}")]
    InvalidArgument {
        /// What is wrong and what is expected.
        reason: String,
    },

    /// The caller gave the work up.
    #[cfg(not(target_arch = "wasm32"))]
    #[error("the work was given up, as was asked for; nothing of it is left")]
    Aborted,

    /// A text has more tokens than the model reads, where the caller wants that to be an error.
    #[error("text {text} has {tokens} tokens, the model reads {limit}: shorten it, or have it cut or read in chunks")]
    TextTooLong {
        /// Index of the text in the call.
        text: usize,
        /// Its tokens, with special tokens and prompt.
        tokens: usize,
        /// Most tokens of a text.
        limit: usize,
    },

    /// The model was loaded without the head that a call needs.
    #[error(
        "the model is loaded to {loaded} and has no head to {task}: load it with task \"{task}\", if its checkpoint has that head"
    )]
    NoHead {
        /// What was asked for.
        task: &'static str,
        /// What it was loaded for.
        loaded: &'static str,
    },

    // The device.
    /// The browser has no WebGPU here.
    #[error("this browser or context has no WebGPU: use device \"auto\" or \"wasm\"")]
    NoWebgpu,
    /// WebGPU (or a native driver) is there, but no adapter.
    #[error("no GPU adapter is available ({reason}): use device \"auto\" or \"wasm\"")]
    NoAdapter {
        /// The driver's own words.
        reason: String,
    },
    /// Products of integers were asked for of a GPU that cannot do all of the model's.
    #[error("precision int8 is not for this model on a GPU ({reason}): use device \"wasm\", or another precision")]
    NoInt8 {
        /// What is missing.
        reason: String,
    },
    /// The device went away.
    #[error("the GPU device was lost ({reason}): try again, natively with a new encoder")]
    DeviceLost {
        /// The driver's own words.
        reason: String,
    },
    /// An allocation failed.
    #[error("out of memory while {doing}: use a smaller model, shorter texts or another device")]
    OutOfMemory {
        /// What was being allocated.
        doing: String,
    },
    /// A kernel did not compile, or a call was refused by the driver.
    #[error("GPU kernel {kernel} was refused: {reason}")]
    Shader {
        /// Name of the kernel or call.
        kernel: String,
        /// The driver's own words.
        reason: String,
    },
    /// The device computes something else than the reference.
    #[error("kernel {kernel} is wrong on this device (error {error:e}, allowed {allowed:e}): use device \"wasm\"")]
    SelfCheckFailed {
        /// Name of the kernel.
        kernel: String,
        /// Largest error, relative to the largest magnitude.
        error: f32,
        /// Largest error allowed.
        allowed: f32,
    },
    /// The folder's own texts have other vectors here than they had where it was packed.
    #[error(
        "a text of embedlet.json has a vector that is off by {error:.3} of its length, allowed {allowed:.3}: use device \"wasm\", or pack the folder again"
    )]
    NotReproduced {
        /// Length of the difference over that of the vector.
        error: f32,
        /// The largest allowed.
        allowed: f32,
    },
    /// A vector holds NaN or infinity, or one that should be of unit length is not.
    #[error("vector {text} of the call is not usable ({reason})")]
    NonFinite {
        /// Index of the vector, or of its text, in the call.
        text: usize,
        /// What was found.
        reason: String,
    },
}

impl Error {
    /// Whether it can show when weights are on their way to a GPU and need not be a fault of the model's. `pkg/src/load.ts` has the same
    /// codes, `GPU_FAULTS`: an error may come from either side there.
    pub fn is_of_gpu(&self) -> bool {
        ["self-check-failed", "shader", "device-lost", "out-of-memory", "limit-exceeded"].contains(&self.code())
    }

    /// Index of the text in the call that is at fault, where it is one.
    pub fn text(&self) -> Option<usize> {
        match self {
            Self::TextTooLong { text, .. } | Self::NonFinite { text, .. } => Some(*text),
            _ => None,
        }
    }

    /// A stable kebab-case name, the same in Rust and in JavaScript.
    pub fn code(&self) -> &'static str {
        match self {
            Self::MissingFile { .. } => "missing-file",
            Self::InvalidFile { .. } => "invalid-file",
            Self::HtmlInsteadOfFile { .. } => "html-instead-of-file",
            Self::TruncatedFile { .. } => "truncated-file",
            Self::WrongHash { .. } => "wrong-hash",
            Self::MissingTensor { .. } => "missing-tensor",
            Self::WrongShape { .. } => "wrong-shape",
            Self::UnsupportedDtype { .. } => "unsupported-dtype",
            Self::UnsupportedArchitecture { .. } => "unsupported-architecture",
            Self::UnsupportedOption { .. } | Self::NoInt8 { .. } => "unsupported-option",
            Self::LimitExceeded { .. } => "limit-exceeded",
            Self::TokenOutOfRange { .. } => "token-out-of-range",
            Self::InvalidTokenizer { .. } => "invalid-tokenizer",
            Self::InvalidArgument { .. } => "invalid-argument",
            #[cfg(not(target_arch = "wasm32"))]
            Self::Aborted => "aborted",
            Self::TextTooLong { .. } => "text-too-long",
            Self::NoHead { .. } => "no-head",
            Self::NoWebgpu => "no-webgpu",
            Self::NoAdapter { .. } => "no-adapter",
            Self::DeviceLost { .. } => "device-lost",
            Self::OutOfMemory { .. } => "out-of-memory",
            Self::Shader { .. } => "shader",
            Self::SelfCheckFailed { .. } | Self::NotReproduced { .. } => "self-check-failed",
            Self::NonFinite { .. } => "non-finite",
        }
    }

    /// An [`Error::InvalidArgument`] with this sentence.
    pub fn argument(reason: impl Into<String>) -> Self {
        Self::InvalidArgument { reason: reason.into() }
    }

    /// An [`Error::UnsupportedOption`]; the value is cut so that a hostile file cannot flood a log.
    pub fn option(option: impl Into<String>, value: impl ToString) -> Self {
        Self::UnsupportedOption { option: option.into(), value: printable(&value.to_string()) }
    }

    /// An [`Error::InvalidFile`].
    pub fn file(path: impl Into<String>, reason: impl ToString) -> Self {
        Self::InvalidFile { path: path.into(), reason: printable(&reason.to_string()) }
    }
}

/// Text from a file, cut to 200 characters and without control characters.
pub(crate) fn printable(text: &str) -> String {
    let mut cut: String = text.chars().filter(|c| !c.is_control()).take(200).collect();
    if text.chars().nth(200).is_some() {
        cut.push('…');
    }
    cut
}
