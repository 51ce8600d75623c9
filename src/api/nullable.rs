//! Null is as absent in every member of a request that may be left out, as `http::extract` reads it: the document says so.

use std::collections::BTreeSet;

use serde_json::Value;
use utoipa::openapi::schema::{SchemaType, Type};
use utoipa::openapi::{ObjectBuilder, OneOfBuilder, OpenApi, RefOr, Schema};

/// Where schemas stand in the document.
const SCHEMAS: &str = "#/components/schemas/";

/// Lets the members that are not required be null, in every schema that the body of a request is made of.
pub fn in_requests(whole: &mut OpenApi) {
    let asked = of_requests(&serde_json::to_value(&*whole).unwrap_or_default());
    let Some(components) = whole.components.as_mut() else { return };
    for (name, schema) in &mut components.schemas {
        let RefOr::T(Schema::Object(object)) = schema else { continue };
        if !asked.contains(name) {
            continue;
        }
        for (member, value) in &mut object.properties {
            if !object.required.contains(member) {
                *value = or_null(value.clone());
            }
        }
    }
}

/// The names of the schemas of request bodies, and of all that stand in them.
fn of_requests(document: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let operations = document["paths"].as_object().into_iter().flat_map(|paths| paths.values());
    let operations = operations.filter_map(Value::as_object).flat_map(|methods| methods.values());
    let mut left: Vec<String> = Vec::new();
    for operation in operations {
        named(&operation["requestBody"], &mut left);
    }
    while let Some(name) = left.pop() {
        if found.insert(name.clone()) {
            named(&document["components"]["schemas"][&name], &mut left);
        }
    }
    found
}

fn named(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member.as_str().and_then(|text| text.strip_prefix(SCHEMAS)) {
                    Some(schema) if name == "$ref" => into.push(schema.to_owned()),
                    _ => named(member, into),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| named(item, into)),
        _ => {}
    }
}

fn or_null(schema: RefOr<Schema>) -> RefOr<Schema> {
    match schema {
        RefOr::T(Schema::Object(mut object)) => {
            object.schema_type = with_null(object.schema_type);
            if let Some(values) = object.enum_values.as_mut().filter(|values| !values.contains(&Value::Null)) {
                values.push(Value::Null);
            }
            RefOr::T(Schema::Object(object))
        }
        RefOr::T(Schema::Array(mut array)) => {
            array.schema_type = with_null(array.schema_type);
            RefOr::T(Schema::Array(array))
        }
        RefOr::Ref(mut to) => {
            let description = std::mem::take(&mut to.description);
            let null = ObjectBuilder::new().schema_type(SchemaType::Type(Type::Null));
            let description = Some(description).filter(|text| !text.is_empty());
            OneOfBuilder::new().item(null).item(to).description(description).into()
        }
        // these name null themselves
        other => other,
    }
}

fn with_null(kind: SchemaType) -> SchemaType {
    match kind {
        SchemaType::Type(Type::Null) | SchemaType::AnyValue => kind,
        SchemaType::Type(one) => SchemaType::Array(vec![one, Type::Null]),
        SchemaType::Array(mut several) => {
            if !several.contains(&Type::Null) {
                several.push(Type::Null);
            }
            SchemaType::Array(several)
        }
    }
}
