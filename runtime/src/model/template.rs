//! How a row becomes a prompt: the job's own template, or the base's chat template.
//!
//! A job's template sees `prompt` and `context` (a list of passages, empty without recall) and nothing else; an undefined name is
//! an error. A base's chat template sees what transformers gives it: `messages` with one user message,
//! `add_generation_prompt` true, and the special tokens. No template can read the clock, a file or the environment.

use minijinja::value::{Kwargs, Value, from_args};
use minijinja::{Environment, Error, ErrorKind, State, UndefinedBehavior, context};
use serde_json::Value as Json;

use super::error::ModelError;
use super::limits;
use super::source::{CHAT_TEMPLATE, ModelSource, TOKENIZER_CONFIG};

/// A prompt template that parses.
#[derive(Debug)]
pub struct PromptTemplate {
    environment: Environment<'static>,
    source: String,
    special: Option<SpecialTokens>,
}

/// The special tokens a chat template may print, from tokenizer_config.json.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct SpecialTokens {
    /// Begins a text.
    pub bos: String,
    /// Ends a text.
    pub eos: String,
    /// Fills a batch.
    pub pad: String,
    /// Stands for what the vocabulary lacks.
    pub unk: String,
}

impl PromptTemplate {
    /// A job's template, over `prompt` and `context`.
    ///
    /// # Errors
    /// [`ModelError::Template`] with the line.
    pub fn of_job(template: &str) -> Result<Self, ModelError> {
        Self::new(template, None)
    }

    /// The chat template of a located base; `None` where it has none.
    ///
    /// # Errors
    /// [`ModelError::Template`] with the line, [`ModelError::NotJson`].
    pub fn of_base(source: &ModelSource) -> Result<Option<Self>, ModelError> {
        let config: Json = match source.has(TOKENIZER_CONFIG) {
            true => serde_json::from_slice(&source.read(TOKENIZER_CONFIG)?).map_err(|error| ModelError::NotJson {
                file: TOKENIZER_CONFIG.to_owned(),
                detail: error.to_string(),
            })?,
            false => {
                source.gguf()?.map_or_else(|| Json::Object(serde_json::Map::new()), |gguf| gguf.tokenizer_config())
            }
        };
        // As transformers: the file beside wins over the key, and of several the one called default.
        let template =
            if source.has(CHAT_TEMPLATE) {
                let text = source.read(CHAT_TEMPLATE)?.into_owned();
                Some(String::from_utf8(text).map_err(|error| ModelError::NotJson {
                    file: CHAT_TEMPLATE.to_owned(),
                    detail: error.to_string(),
                })?)
            } else {
                template_in(&config)
            };
        template.map(|template| Self::of_chat(&template, SpecialTokens::of(&config))).transpose()
    }

    /// A chat template with the special tokens it may print.
    ///
    /// # Errors
    /// [`ModelError::Template`] with the line.
    pub fn of_chat(template: &str, special: SpecialTokens) -> Result<Self, ModelError> {
        Self::new(template, Some(special))
    }

    fn new(source: &str, special: Option<SpecialTokens>) -> Result<Self, ModelError> {
        if source.len() > limits::TEMPLATE_LEN_BYTES {
            let detail = format!("{} bytes, expected at most {}", source.len(), limits::TEMPLATE_LEN_BYTES);
            return Err(ModelError::Template { line: 0, detail });
        }
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_keep_trailing_newline(special.is_none());
        // Chat templates are written against Jinja's lenient default, job templates are ours to check.
        environment.set_undefined_behavior(match special {
            Some(_) => UndefinedBehavior::Lenient,
            None => UndefinedBehavior::Strict,
        });
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_unknown_method_callback(python_method);
        environment.add_filter("tojson", to_json);
        environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, format!("the template refuses: {message}")))
        });
        environment.add_function("strftime_now", |_: String| -> Result<Value, Error> {
            let detail = "strftime_now is refused: a prompt that holds the date cannot be replayed";
            Err(Error::new(ErrorKind::InvalidOperation, detail))
        });
        environment.add_template_owned(NAME, source.to_owned()).map_err(|error| failed(&error))?;
        Ok(Self { environment, source: source.to_owned(), special })
    }

    /// The template's text, as the plan records it.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The prompt of one row; `context` are the retrieved passages, best first.
    ///
    /// A chat template gets the passages, each followed by an empty line, before the row's text in the user's message.
    ///
    /// # Errors
    /// [`ModelError::Template`] with the line.
    pub fn render(&self, prompt: &str, context: &[&str]) -> Result<String, ModelError> {
        let template = self.environment.get_template(NAME).map_err(|error| failed(&error))?;
        let rendered = match &self.special {
            None => template.render(context! { prompt, context }),
            Some(special) => {
                let mut content = String::new();
                for passage in context {
                    content.push_str(passage);
                    content.push_str("\n\n");
                }
                content.push_str(prompt);
                template.render(context! {
                    messages => [context! { role => "user", content }],
                    add_generation_prompt => true,
                    tools => Value::from(()),
                    documents => Value::from(()),
                    bos_token => special.bos,
                    eos_token => special.eos,
                    pad_token => special.pad,
                    unk_token => special.unk,
                })
            }
        };
        rendered.map_err(|error| failed(&error))
    }
}

impl SpecialTokens {
    /// Reads them from a parsed tokenizer_config.json; each is a text or an object with `content`, absent means empty.
    pub fn of(config: &Json) -> Self {
        let token = |key: &str| {
            let value = config.get(key);
            let text = value.and_then(|value| value.as_str().or_else(|| value.get("content")?.as_str()));
            text.unwrap_or_default().to_owned()
        };
        Self { bos: token("bos_token"), eos: token("eos_token"), pad: token("pad_token"), unk: token("unk_token") }
    }
}

fn template_in(config: &Json) -> Option<String> {
    match config.get("chat_template")? {
        Json::String(template) => Some(template.clone()),
        Json::Array(named) => {
            let default = named.iter().find(|entry| entry.get("name").and_then(Json::as_str) == Some("default"))?;
            default.get("template")?.as_str().map(str::to_owned)
        }
        _ => None,
    }
}

fn failed(error: &Error) -> ModelError {
    let detail =
        error.detail().map_or_else(|| error.kind().to_string(), |detail| format!("{}: {detail}", error.kind()));
    ModelError::Template { line: error.line().unwrap_or(0), detail }
}

/// `tojson` as transformers defines it: no HTML escapes, keys in the order of the value, separators `", "` and `": "`.
fn to_json(value: Value, _options: Kwargs) -> Result<String, Error> {
    let wrong = |error: serde_json::Error| Error::new(ErrorKind::BadSerialization, error.to_string());
    let mut out = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, PythonJson);
    serde::Serialize::serialize(&value, &mut serializer).map_err(wrong)?;
    String::from_utf8(out).map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))
}

struct PythonJson;

impl serde_json::ser::Formatter for PythonJson {
    fn begin_array_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }
    fn begin_object_key<W: ?Sized + std::io::Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }
    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        writer.write_all(b": ")
    }
}

/// The methods of Python's str and dict that published chat templates call.
fn python_method(_: &State<'_, '_>, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    let unknown = || Error::from(ErrorKind::UnknownMethod);
    if let Some(text) = value.as_str() {
        return match method {
            "strip" | "lstrip" | "rstrip" => {
                let (set,): (Option<&str>,) = from_args(args)?;
                let gone = |c: char| set.map_or(c.is_whitespace(), |set| set.contains(c));
                Ok(Value::from(match method {
                    "strip" => text.trim_matches(gone),
                    "lstrip" => text.trim_start_matches(gone),
                    _ => text.trim_end_matches(gone),
                }))
            }
            "startswith" => from_args(args).map(|(prefix,): (&str,)| Value::from(text.starts_with(prefix))),
            "endswith" => from_args(args).map(|(suffix,): (&str,)| Value::from(text.ends_with(suffix))),
            "replace" => from_args(args).map(|(old, new): (&str, &str)| Value::from(text.replace(old, new))),
            "lower" => from_args(args).map(|(): ()| Value::from(text.to_lowercase())),
            "upper" => from_args(args).map(|(): ()| Value::from(text.to_uppercase())),
            "split" => {
                let (separator,): (Option<&str>,) = from_args(args)?;
                Ok(match separator {
                    Some(separator) => text.split(separator).map(Value::from).collect(),
                    None => text.split_whitespace().map(Value::from).collect(),
                })
            }
            _ => Err(unknown()),
        };
    }
    match method {
        "get" if value.kind() == minijinja::value::ValueKind::Map => {
            let (key, default): (Value, Option<Value>) = from_args(args)?;
            let found = value.get_item(&key)?;
            Ok(if found.is_undefined() { default.unwrap_or(Value::from(())) } else { found })
        }
        "items" if value.kind() == minijinja::value::ValueKind::Map => {
            let pair = |key: Value| Ok(Value::from(vec![key.clone(), value.get_item(&key)?]));
            Ok(Value::from(value.try_iter()?.map(pair).collect::<Result<Vec<Value>, Error>>()?))
        }
        _ => Err(unknown()),
    }
}

const NAME: &str = "prompt";
