// A strict authorization server of another maker in front of a FHIR endpoint with nothing in it.
// Argument: {"clients": [client metadata …], "patient": id, "registers": [how clients that register may prove themselves]}. Says {"port": …} on stdout when it listens. /events tells
// each request to its token endpoint, and each grant that it revoked.
import { once } from 'node:events';
import { createServer } from 'node:http';
import { Provider } from 'oidc-provider';

const { clients, patient, registers } = JSON.parse(process.argv[2]);
const events = [];

const server = createServer();
server.listen(0, '127.0.0.1');
await once(server, 'listening');
const { port } = server.address();
const issuer = `http://127.0.0.1:${port}`;
const fhir = `${issuer}/fhir`;

const provider = new Provider(issuer, {
  clients,
  clientDefaults: {
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    id_token_signed_response_alg: 'RS256',
  },
  scopes: ['openid', 'fhirUser', 'offline_access', 'launch/patient', 'patient/*.read', 'patient/ImagingStudy.read'],
  claims: { openid: ['sub'], fhirUser: ['fhirUser'] },
  conformIdTokenClaims: false, // as SMART has it: fhirUser stands in the ID token
  extraParams: ['aud', 'launch'],
  findAccount: (ctx, sub) => ({
    accountId: sub,
    claims: () => ({ sub, fhirUser: `${fhir}/Patient/${patient}` }),
  }),
  features: {
    devInteractions: { enabled: true },
    introspection: { enabled: true },
    registration: { enabled: registers.length > 0 },
    revocation: { enabled: true },
    resourceIndicators: { enabled: false },
  },
  pkce: { required: () => true },
  issueRefreshToken: async (ctx, client) => client.grantTypeAllowed('refresh_token'),
  rotateRefreshToken: true,
  ...(registers.length && { clientAuthMethods: registers }),
  enabledJWA: { clientAuthSigningAlgValues: ['RS384', 'ES384'] },
  cookies: { keys: ['of-a-test'] },
  ttl: { AccessToken: 3600, AuthorizationCode: 60, Grant: 86400, RefreshToken: 86400, Session: 600, Interaction: 600, IdToken: 600 },
});
provider.on('grant.revoked', () => events.push({ event: 'revoked' }));

const capabilities = ['launch-standalone', 'client-public', 'client-confidential-symmetric',
  'client-confidential-asymmetric', 'context-standalone-patient', 'permission-patient', 'permission-offline', 'permission-v1',
  'sso-openid-connect'];
const smart = {
  issuer,
  jwks_uri: `${issuer}/jwks`,
  authorization_endpoint: `${issuer}/auth`,
  token_endpoint: `${issuer}/token`,
  revocation_endpoint: `${issuer}/token/revocation`,
  introspection_endpoint: `${issuer}/token/introspection`,
  grant_types_supported: ['authorization_code', 'refresh_token'],
  code_challenge_methods_supported: ['S256'],
  ...(registers.length && { registration_endpoint: `${issuer}/reg` }),
  token_endpoint_auth_methods_supported: registers.length ? registers : ['client_secret_basic', 'private_key_jwt', 'none'],
  token_endpoint_auth_signing_alg_values_supported: ['RS384', 'ES384'],
  authorization_response_iss_parameter_supported: true,
  capabilities,
};
const statement = {
  resourceType: 'CapabilityStatement', status: 'active', kind: 'instance', fhirVersion: '3.0.2', acceptUnknown: 'both',
  date: '2026-01-01', format: ['json'],
  rest: [{
    mode: 'server',
    security: {
      extension: [{
        url: 'http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris',
        extension: [{ url: 'authorize', valueUri: smart.authorization_endpoint }, { url: 'token', valueUri: smart.token_endpoint }],
      }],
    },
    resource: ['Patient', 'ImagingStudy', 'ExplanationOfBenefit', 'Endpoint'].map((type) => ({
      type,
      interaction: [{ code: 'read' }, { code: 'search-type' }],
      searchParam: [{ name: 'patient', type: 'reference' }, { name: '_lastUpdated', type: 'date' }],
    })),
  }],
};

provider.use(async (ctx, next) => {
  if (ctx.path === '/fhir/metadata') ctx.body = statement;
  else if (ctx.path === '/fhir/.well-known/smart-configuration') ctx.body = smart;
  else if (ctx.path === '/events') ctx.body = events;
  else if (ctx.path.startsWith('/fhir/')) {
    const [, bearer] = /^Bearer (.+)$/.exec(ctx.get('authorization')) ?? [];
    const token = bearer && await provider.AccessToken.find(bearer);
    ctx.status = token?.isValid ? 200 : 401;
    ctx.body = token?.isValid
      ? { resourceType: 'Bundle', type: 'searchset', total: 0 }
      : { resourceType: 'OperationOutcome', issue: [{ severity: 'error', code: 'login' }] };
  } else {
    await next();
    if (ctx.path !== '/token') return;
    // What SMART App Launch adds to a token response.
    if (ctx.body.access_token) ctx.body.patient = patient;
    const { params, client } = ctx.oidc;
    events.push({ event: 'token', grant: params?.grant_type, client: client?.clientId, scope: params?.scope, error: ctx.body.error });
  }
});
server.on('request', provider.callback());
process.stdout.write(`${JSON.stringify({ port })}\n`);
