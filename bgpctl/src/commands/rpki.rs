//! `show rpki`.

use bgpd_proto::v1;
use bgpd_proto::v1::rpki_service_client::RpkiServiceClient;

use super::Context;
use crate::Error;
use crate::output::rpki;

pub(super) async fn caches(context: &Context) -> Result<(), Error> {
    let mut client = RpkiServiceClient::new(context.connect().await?);
    let answer = client.list(v1::ListCachesRequest {}).await?.into_inner();
    context.print(&rpki::json(&answer), || rpki::text(&answer))
}

pub(super) async fn validate(context: &Context, prefix: String, origin: Option<u32>) -> Result<(), Error> {
    let mut client = RpkiServiceClient::new(context.connect().await?);
    let answer = client.validate(v1::ValidateRequest { prefix, origin }).await?.into_inner();
    context.print(&rpki::validation_json(&answer), || rpki::validation_text(&answer))
}
