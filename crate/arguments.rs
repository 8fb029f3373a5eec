//! The command line's arguments.

use std::path::PathBuf;

use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::Error as ValueError;

use embedlet::bulk::{self, Shard};
use embedlet::model::{EmbedOptions, Kind, Names};
use embedlet::pack::Dtype;
use embedlet::program::Precision;
use embedlet::task::{
    AnswerOptions, ClassifyOptions, ExplainOptions, FillOptions, MultiOptions, RerankOptions, SparseOptions,
    TagOptions, Task,
};

pub const HELP: &str = "\
Text encoders on your own GPU.

embedlet VERB --model DIR [options] < in.jsonl > out.jsonl
    One {\"text\": …}, {\"text\": …, \"pair\": …} or bare line in, one line of JSON out, in order.

embedlet embed --model DIR FILES --out DIR [options]
embedlet embed --model DIR --ipc [options] < in.arrows > out.arrows
    Files of rows, or a stream of Arrow batches, to the same with a column \"embedding\".

verbs
    embed        {\"embedding\": […], \"tokens\": n}
    classify     {\"logits\": […], \"scores\": [{\"label\", \"score\"}, …]}, best first
    tag          {\"entities\": [{\"label\", \"score\", \"word\", \"start\", \"end\"}, …]}
    answer       text is the question, pair the context: {\"answers\": [{\"answer\", \"score\", \"start\", \"end\"}, …]}
    fill         {\"masks\": [{\"position\", \"top\": [{\"id\", \"token\", \"score\", \"sequence\"}, …]}, …]}
    rerank       {\"text\": query, \"documents\": […]} in, {\"results\": [{\"index\", \"score\"}, …]} out, best first
    zero-shot    {\"scores\": [{\"label\", \"score\"}, …]} for --labels, by a model of natural language inference
    sparse       {\"indices\": […], \"weights\": […], \"tokens\": […]}, heaviest first
    multi        {\"embedding\": [[…], …], \"tokens\": n}, a vector for every token that is compared
    chunk        {\"chunks\": [{\"text\", \"start\", \"end\", \"tokens\"}, …]}, parts that the model reads whole
    explain      {\"score\", \"parts\": [{\"text\", \"start\", \"end\", \"score\"}, …]}: what of a text makes its similarity with
                 \"against\", where there is one, or the score of --label, else of the best label
    pack         writes the model to --out, made small; reads nothing, prints what it cost
    info         what is known of the model, as JSON
    bench        how fast it is here and where the time goes; reads nothing
    index        files that a browser searches without a server: embedlet index --help

options
    --device auto|gpu|cpu   auto takes a GPU unless there is none, or only a software one
    --precision auto|f32|f16|int8
                            how matrices are stored on the device; auto: as in the checkpoint
    --quiet                 no progress on stderr
    --logits                tag, answer: {\"logits\": …}, the scores of every token
    --top-k N               classify, answer, fill, rerank, sparse: the best N
    --labels A,B            classify: only these labels; zero-shot: the candidates
    --query, --document     embed, chunk, sparse, multi, explain: what the texts are, where the model tells them apart
    --stride N              tag, answer: tokens that the windows of a long text share

embed
    --pooling NAMES         cls, max, mean, mean_sqrt_len_tokens, weightedmean or lasttoken; several with commas;
                            none: {\"embedding\": [[…], …]}, the last hidden state of every token
    --normalize, --no-normalize
                            scale vectors to unit length, or do not; without either: as the model says
    --dimensions N          keep the first N columns
    --layers N              run the first N layers only
    --attention-temperature T
                            divide attention scores by T
    --prompt TEXT, --prompt-name NAME
                            embed, chunk: what is put in front of each text; chunks leave room for it
    --task NAME             the adapter that is used, of those that the model has
    --overflow error|truncate|chunk
                            what becomes of a text that is too long: cut unless said otherwise
    --chunk-pooling NAME    mean or max of the vectors of its chunks; none: {\"chunks\": [{…, \"embedding\"}, …]}
    --size N, --overlap N, --by tokens|sentences
                            embed, chunk: most tokens of a chunk, tokens that neighbours share, and where texts are cut

embed, with FILES (.parquet, .jsonl, .ndjson, .arrow) or --ipc
    FILES, DIR              paths, or with the feature object-store URLs: s3://, gs://, az://, abfss://, https:// (to read).
                            A URL that ends in / or has a * behind its last / stands for all files there
    --column NAME           the column of texts (text)
    --keep A,B              the columns that go through; all unless said otherwise
    --out DIR               where Parquet files go to; what is there whole is left as it is
    --shard I/N             only every N-th part, from the one numbered I (0/1)
    --part-rows N           least rows of an output file, which takes row groups as they are (65536)
    --name NAME             what the metadata calls the model (the name of its folder)

others
    --aggregation NAME      tag: none, simple, first, average or max
    --no-answer             answer: an empty answer takes part
    --targets A,B           fill: only these tokens
    --function NAME         classify, rerank: softmax, sigmoid or none, what makes scores of logits
    --task NAME             rerank: the head that is loaded, classify, multi or uni-encoder; without it as the folder says
    --template TEXT         zero-shot: the claim, with {} for the label
    --multi-label           zero-shot: each label for itself
    --label NAME            explain: the label whose score is explained
    --method occlusion|maxsim
                            explain: what the score loses without a part, or a token's closest token of \"against\"
    --unit token|word       explain: what a part is
    --pool-factor N         multi: keep about one vector in N
    --only A,B              bench: these of one-short, one-long, 32-short, 32-mixed, 16-long
    --rounds N              bench: how often each is measured (7)
    --threads N             bench: threads of the host
    --kernels hardware|software
                            bench: which kernels a GPU takes, whatever the adapter
    --json FILE             bench: the samples too

pack
    --out DIR               where to; it must be empty or not there
    --dtype NAME            f16, q8, q6, q4, or auto: the smallest that keeps --agreement (q8)
    --agreement SHARE       least share of each text's ten nearest others that stay among the ten (0.97)
    --calibration FILE      texts like those to come, one a line: every other one guides the rounding, the rest measure it
    --prune-vocab FILE      keep only the tokens of these texts, one a line, and what any text can be spelled with
    --task NAME             pack the head of this task too, if not the one that the folder names
    --source NAME, --revision REVISION
                            where the model comes from, to be noted in the folder
";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    Embed,
    Classify,
    Tag,
    Answer,
    Fill,
    Rerank,
    ZeroShot,
    Sparse,
    Multi,
    Chunk,
    Explain,
    Pack,
    Info,
    Bench,
}

/// Options that some verbs have, and which: for others they would be options without effect.
const ONLY: [(&str, &[Verb]); 48] = {
    use Verb::{Answer, Bench, Chunk, Classify, Embed, Explain, Fill, Multi, Pack, Rerank, Sparse, Tag, ZeroShot};
    [
        ("--pooling", &[Embed]),
        ("--normalize", &[Embed]),
        ("--no-normalize", &[Embed]),
        ("--dimensions", &[Embed]),
        ("--layers", &[Embed]),
        ("--attention-temperature", &[Embed]),
        ("--prompt", &[Embed, Chunk]),
        ("--prompt-name", &[Embed, Chunk]),
        ("--overflow", &[Embed]),
        ("--chunk-pooling", &[Embed]),
        ("--size", &[Embed, Chunk]),
        ("--overlap", &[Embed, Chunk]),
        ("--by", &[Embed, Chunk]),
        ("--query", &[Embed, Chunk, Explain, Sparse, Multi]),
        ("--document", &[Embed, Chunk, Explain, Sparse, Multi]),
        ("--label", &[Explain]),
        ("--method", &[Explain]),
        ("--unit", &[Explain]),
        // Classifications always have theirs.
        ("--logits", &[Classify, Tag, Answer]),
        ("--top-k", &[Classify, Answer, Fill, Rerank, Sparse]),
        ("--labels", &[Classify, ZeroShot]),
        ("--stride", &[Tag, Answer]),
        ("--aggregation", &[Tag]),
        ("--function", &[Classify, Rerank]),
        ("--task", &[Embed, Pack, Rerank]),
        ("--no-answer", &[Answer]),
        ("--targets", &[Fill]),
        ("--template", &[ZeroShot]),
        ("--multi-label", &[ZeroShot]),
        ("--pool-factor", &[Multi]),
        ("--only", &[Bench]),
        ("--rounds", &[Bench]),
        ("--threads", &[Bench]),
        ("--kernels", &[Bench]),
        ("--json", &[Bench]),
        ("--column", &[Embed]),
        ("--keep", &[Embed]),
        ("--shard", &[Embed]),
        ("--part-rows", &[Embed]),
        ("--name", &[Embed]),
        ("--ipc", &[Embed]),
        ("--out", &[Embed, Pack]),
        ("--dtype", &[Pack]),
        ("--agreement", &[Pack]),
        ("--calibration", &[Pack]),
        ("--prune-vocab", &[Pack]),
        ("--source", &[Pack]),
        ("--revision", &[Pack]),
    ]
};

impl Verb {
    /// The head that it needs; none: the one that the folder names.
    fn task(self) -> Option<Task> {
        match self {
            Self::Explain | Self::Info | Self::Pack | Self::Rerank => None,
            Self::Embed | Self::Chunk | Self::Bench => Some(Task::Embed),
            Self::Classify | Self::ZeroShot => Some(Task::Classify),
            Self::Tag => Some(Task::Tag),
            Self::Answer => Some(Task::Answer),
            Self::Fill => Some(Task::Fill),
            Self::Sparse => Some(Task::Sparse),
            Self::Multi => Some(Task::Multi),
        }
    }
}

pub struct Arguments {
    pub verb: Verb,
    pub model: PathBuf,
    pub device: String,
    pub precision: Option<Precision>,
    pub task: Option<Task>,
    pub quiet: bool,
    pub logits: bool,
    pub embed: EmbedOptions,
    pub files: Vec<PathBuf>,
    pub ipc: bool,
    pub bulk: bulk::Options,
    pub classify: ClassifyOptions,
    pub tag: TagOptions,
    pub answer: AnswerOptions,
    pub fill: FillOptions,
    pub sparse: SparseOptions,
    pub multi: MultiOptions,
    pub rerank: RerankOptions,
    pub explain: ExplainOptions,
    pub template: String,
    pub multi_label: bool,
    pub only: Option<Vec<String>>,
    pub rounds: usize,
    pub forms: Option<bool>,
    pub threads: Option<usize>,
    pub json: Option<PathBuf>,
    pub out: PathBuf,
    pub dtype: Dtype,
    pub agreement: f64,
    pub calibration: Option<PathBuf>,
    pub prune_vocab: Option<PathBuf>,
    pub source: Option<String>,
    pub revision: Option<String>,
}

/// Reads the arguments; none: help is asked for.
pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Option<Arguments>, String> {
    let verb = match arguments.next().as_deref() {
        None | Some("help" | "--help" | "-h") => return Ok(None),
        Some(verb) => named(verb).map_err(|_| format!("there is no \"{verb}\": try embedlet --help"))?,
    };
    let mut parsed = Arguments {
        verb,
        model: PathBuf::new(),
        device: "auto".into(),
        precision: None,
        task: verb.task(),
        quiet: false,
        logits: false,
        embed: EmbedOptions::default(),
        files: Vec::new(),
        ipc: false,
        bulk: bulk::Options::default(),
        classify: ClassifyOptions::default(),
        tag: TagOptions::default(),
        answer: AnswerOptions::default(),
        fill: FillOptions::default(),
        sparse: SparseOptions::default(),
        multi: MultiOptions::default(),
        rerank: RerankOptions::default(),
        explain: ExplainOptions::default(),
        template: "This example is {}.".into(),
        multi_label: false,
        only: None,
        rounds: 7,
        forms: None,
        threads: None,
        json: None,
        out: PathBuf::new(),
        dtype: Dtype::Q8,
        agreement: 0.97,
        calibration: None,
        prune_vocab: None,
        source: None,
        revision: None,
    };
    while let Some(flag) = arguments.next() {
        if let Some((_, verbs)) = ONLY.iter().find(|(name, _)| *name == flag)
            && !verbs.contains(&verb)
        {
            return Err(format!("{flag} is not for this verb: try embedlet --help"));
        }
        let mut value = || arguments.next().ok_or_else(|| format!("{flag} needs a value"));
        let number = |text: String| text.parse::<usize>().map_err(|_| format!("{flag} {text} is not a number"));
        let list = |text: String| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        match flag.as_str() {
            "--model" => parsed.model = PathBuf::from(value()?),
            "--device" => {
                parsed.device = value()?;
                if !["auto", "gpu", "cpu"].contains(&parsed.device.as_str()) {
                    return Err(format!("--device is auto, gpu or cpu, not \"{}\"", parsed.device));
                }
            }
            "--precision" => {
                let name = value()?;
                parsed.precision = Precision::parse(&name);
                if parsed.precision.is_none() && name != "auto" {
                    return Err(format!("--precision is auto, f32, f16 or int8, not \"{name}\""));
                }
            }
            "--pooling" => match value()?.as_str() {
                "none" => parsed.embed.tokens = true,
                names => parsed.embed.pooling = Some(Names::Several(list(names.into()))),
            },
            "--normalize" => parsed.embed.normalize = Some(true),
            "--no-normalize" => parsed.embed.normalize = Some(false),
            "--dimensions" => parsed.embed.dimensions = Some(number(value()?)?),
            "--attention-temperature" => {
                let text = value()?;
                let number = text.parse().map_err(|_| format!("{flag} {text} is not a number"))?;
                parsed.embed.attention_temperature = Some(number);
            }
            "--layers" => parsed.embed.layers = Some(number(value()?)?),
            "--overflow" => parsed.embed.overflow = one_of(&flag, &value()?, "error, truncate or chunk")?,
            "--chunk-pooling" => {
                parsed.embed.chunk_pooling = Some(one_of(&flag, &value()?, "mean, max or none")?);
            }
            "--size" => parsed.embed.chunk.get_or_insert_default().size = Some(number(value()?)?),
            "--overlap" => parsed.embed.chunk.get_or_insert_default().overlap = number(value()?)?,
            "--by" => {
                parsed.embed.chunk.get_or_insert_default().by = one_of(&flag, &value()?, "tokens or sentences")?;
            }
            "--prompt" => parsed.embed.prompt = Some(value()?),
            "--prompt-name" => parsed.embed.prompt_name = Some(value()?),
            "--query" | "--document" => {
                let kind = if flag == "--query" { Kind::Query } else { Kind::Document };
                (parsed.embed.kind, parsed.sparse.kind, parsed.multi.kind) = (Some(kind), Some(kind), Some(kind));
                parsed.explain.kind = Some(kind);
            }
            "--column" => parsed.bulk.column = value()?,
            "--keep" => parsed.bulk.keep = Some(list(value()?)),
            "--shard" => parsed.bulk.shard = Shard::parse(&value()?).map_err(|error| error.to_string())?,
            "--part-rows" => parsed.bulk.part_rows = number(value()?)?.max(1) as u64,
            "--name" => parsed.bulk.name = value()?,
            "--ipc" => parsed.ipc = true,
            "--logits" => parsed.logits = true,
            "--top-k" => {
                let count = Some(number(value()?)?);
                (parsed.classify.top_k, parsed.answer.top_k) = (count, count);
                (parsed.fill.top_k, parsed.sparse.top_k, parsed.rerank.top_k) = (count, count, count);
            }
            "--labels" => parsed.classify.labels = Some(list(value()?)),
            "--stride" => {
                let stride = Some(number(value()?)?);
                (parsed.tag.stride, parsed.answer.stride) = (stride, stride);
            }
            "--aggregation" => {
                parsed.tag.aggregation = one_of(&flag, &value()?, "none, simple, first, average or max")?;
            }
            "--function" => {
                let function = Some(one_of(&flag, &value()?, "softmax, sigmoid or none")?);
                (parsed.classify.function, parsed.rerank.function) = (function, function);
            }
            "--task" if verb == Verb::Embed => parsed.embed.task = Some(value()?),
            "--task" => {
                let name = value()?;
                parsed.task = Some(named(&name).map_err(|_| format!("there is no task \"{name}\""))?);
            }
            "--no-answer" => parsed.answer.no_answer = true,
            "--targets" => parsed.fill.targets = Some(list(value()?)),
            "--template" => parsed.template = value()?,
            "--multi-label" => parsed.multi_label = true,
            "--label" => parsed.explain.label = Some(value()?),
            "--method" => parsed.explain.method = one_of(&flag, &value()?, "occlusion or maxsim")?,
            "--unit" => parsed.explain.unit = one_of(&flag, &value()?, "token or word")?,
            "--pool-factor" => parsed.multi.pool_factor = Some(number(value()?)?),
            "--only" => parsed.only = Some(list(value()?)),
            "--rounds" => parsed.rounds = number(value()?)?.max(1),
            "--threads" => parsed.threads = Some(number(value()?)?.max(1)),
            "--kernels" => {
                parsed.forms = match value()?.as_str() {
                    "hardware" => Some(true),
                    "software" => Some(false),
                    name => return Err(format!("--kernels is hardware or software, not \"{name}\"")),
                };
            }
            "--json" => parsed.json = Some(PathBuf::from(value()?)),
            "--out" => parsed.out = PathBuf::from(value()?),
            "--dtype" => parsed.dtype = one_of(&flag, &value()?, "f16, q8, q6, q4 or auto")?,
            "--agreement" => {
                let text = value()?;
                let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
                parsed.agreement =
                    share.ok_or_else(|| format!("--agreement is a share from 0 to 1, not \"{text}\""))?;
            }
            "--calibration" => parsed.calibration = Some(PathBuf::from(value()?)),
            "--prune-vocab" => parsed.prune_vocab = Some(PathBuf::from(value()?)),
            "--source" => parsed.source = Some(value()?),
            "--revision" => parsed.revision = Some(value()?),
            "--quiet" => parsed.quiet = true,
            "--help" | "-h" => return Ok(None),
            file if verb == Verb::Embed && !file.starts_with("--") => parsed.files.push(PathBuf::from(file)),
            _ => return Err(format!("there is no {flag}: try embedlet --help")),
        }
    }
    let (out, files, usual) = (!parsed.out.as_os_str().is_empty(), !parsed.files.is_empty(), bulk::Options::default());
    match () {
        () if parsed.model.as_os_str().is_empty() => Err("--model DIR is missing".into()),
        () if (verb == Verb::Pack || files) && !out => Err("--out DIR is missing".into()),
        () if parsed.ipc && (files || out) => {
            Err("--ipc reads stdin and writes stdout: leave the files and --out away".into())
        }
        () if parsed.ipc && (parsed.bulk.shard, parsed.bulk.part_rows) != (usual.shard, usual.part_rows) => {
            Err("--ipc has no parts: leave --shard and --part-rows away".into())
        }
        () if verb == Verb::Embed && !parsed.ipc && !files && (out || parsed.bulk != usual) => {
            Err("there are no files to embed: name them, or leave the options of files away".into())
        }
        () => Ok(Some(parsed)),
    }
}

/// The variant that an option names.
fn one_of<'a, T: Deserialize<'a>>(flag: &str, name: &'a str, known: &str) -> Result<T, String> {
    named(name).map_err(|_| format!("{flag} is {known}, not \"{name}\""))
}

/// A variant by its name.
fn named<'a, T: Deserialize<'a>>(name: &'a str) -> Result<T, ValueError> {
    T::deserialize(name.into_deserializer())
}
