//! A kernel call as plans and transcripts write it in their documents.

use loader::btf::Value;
use loader::plan::KernelCall;
use serde::Serialize;

use crate::format::hex;
use crate::value::Json;

/// A system call.
#[derive(Serialize)]
pub(crate) struct CallDocument {
    name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<&'static str>,
    arguments: Json<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    data: String,
}

impl CallDocument {
    pub(crate) fn new(call: &KernelCall) -> Self {
        let mut arguments: Vec<(String, Value)> = Vec::new();
        for (name, value) in &call.arguments {
            let place = arguments.partition_point(|(other, _)| **other < **name);
            arguments.insert(place, ((*name).to_owned(), Value::Text(value.clone())));
        }
        Self {
            name: call.name,
            command: call.command,
            arguments: Json(Value::Fields(arguments)),
            result: call.result.clone(),
            data: hex(&call.data),
        }
    }
}
