//! A kernel call as plans and transcripts write it in their documents.

use loader::plan::KernelCall;
use serde::Serialize;

use crate::format::hex;

/// A system call.
#[derive(Serialize)]
pub(crate) struct CallDocument {
    name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<&'static str>,
    arguments: serde_json::Map<String, serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    data: String,
}

impl CallDocument {
    pub(crate) fn new(call: &KernelCall) -> Self {
        // `collect()` would sort them first, by four kilobytes of machine code.
        let mut arguments = serde_json::Map::new();
        for (name, value) in &call.arguments {
            arguments.insert((*name).to_owned(), value.clone().into());
        }
        Self {
            name: call.name,
            command: call.command,
            arguments,
            result: call.result.clone(),
            data: hex(&call.data),
        }
    }
}
