CREATE TABLE "audit_event" (
	"id" text COLLATE "C" PRIMARY KEY NOT NULL,
	"type" text COLLATE "C" NOT NULL,
	"client_id" text COLLATE "C",
	"request_id" text COLLATE "C",
	"detail" text COLLATE "C" NOT NULL,
	"wall_at" bigint
);
--> statement-breakpoint
CREATE TABLE "client" (
	"client_id" text COLLATE "C" PRIMARY KEY NOT NULL,
	"name" text COLLATE "C" NOT NULL,
	"status" text COLLATE "C" NOT NULL,
	"grant_types" text COLLATE "C" NOT NULL,
	"auth_methods" text COLLATE "C" NOT NULL,
	"scopes" text COLLATE "C" NOT NULL,
	"access_token_ttl_seconds" bigint,
	"created_at" bigint NOT NULL,
	"updated_at" bigint NOT NULL,
	"disabled_at" bigint,
	"tokens_after" bigint,
	"jwks" text COLLATE "C",
	"jwks_uri" text COLLATE "C",
	"assertion_alg" text COLLATE "C",
	"tls_subject_kind" text COLLATE "C",
	"tls_subject" text COLLATE "C",
	"certificate_bound" boolean DEFAULT false NOT NULL,
	"dpop_bound" boolean DEFAULT false NOT NULL,
	"tokens_per_hour" bigint,
	CONSTRAINT "client_status" CHECK ("client"."status" IN ('active', 'disabled', 'deleted'))
);
--> statement-breakpoint
CREATE TABLE "client_audience" (
	"client_id" text COLLATE "C" NOT NULL,
	"position" integer NOT NULL,
	"uri" text COLLATE "C" NOT NULL,
	CONSTRAINT "client_audience_client_id_position_pk" PRIMARY KEY("client_id","position")
);
--> statement-breakpoint
CREATE TABLE "client_hour" (
	"client_id" text COLLATE "C" PRIMARY KEY NOT NULL,
	"hour" bigint NOT NULL,
	"issued" bigint NOT NULL
);
--> statement-breakpoint
CREATE TABLE "client_introspects" (
	"client_id" text COLLATE "C" NOT NULL,
	"position" integer NOT NULL,
	"uri" text COLLATE "C" NOT NULL,
	CONSTRAINT "client_introspects_client_id_position_pk" PRIMARY KEY("client_id","position")
);
--> statement-breakpoint
CREATE TABLE "client_secret" (
	"secret_id" text COLLATE "C" PRIMARY KEY NOT NULL,
	"client_id" text COLLATE "C" NOT NULL,
	"sha256" bytea,
	"argon2id" text COLLATE "C",
	"created_at" bigint NOT NULL,
	"expires_at" bigint,
	"last_used_at" bigint,
	CONSTRAINT "client_secret_kind" CHECK (("client_secret"."sha256" IS NULL) <> ("client_secret"."argon2id" IS NULL))
);
--> statement-breakpoint
CREATE TABLE "installation" (
	"id" integer PRIMARY KEY NOT NULL,
	"store_id" text COLLATE "C" NOT NULL,
	"issuer" text COLLATE "C",
	"created_at" bigint NOT NULL,
	"tokens_after" bigint,
	CONSTRAINT "installation_single" CHECK ("installation"."id" = 1)
);
--> statement-breakpoint
CREATE TABLE "issuance" (
	"jti" text COLLATE "C" PRIMARY KEY NOT NULL,
	"client_id" text COLLATE "C" NOT NULL,
	"subject" text COLLATE "C",
	"grant_type" text COLLATE "C" NOT NULL,
	"secret_id" text COLLATE "C" NOT NULL,
	"audience" text COLLATE "C" NOT NULL,
	"scope" text COLLATE "C",
	"kid" text COLLATE "C" NOT NULL,
	"expires_at" bigint NOT NULL,
	"request_id" text COLLATE "C" NOT NULL,
	"address" text COLLATE "C" NOT NULL,
	"family_id" text COLLATE "C",
	"refresh_generation" bigint,
	"confirmation" text COLLATE "C",
	"previous_jti" text COLLATE "C"
);
--> statement-breakpoint
CREATE TABLE "mark" (
	"kind" text COLLATE "C" NOT NULL,
	"id" text COLLATE "C" NOT NULL,
	"client_id" text COLLATE "C" NOT NULL,
	"expires_at" bigint NOT NULL,
	"sequence" bigint NOT NULL,
	CONSTRAINT "mark_kind_id_pk" PRIMARY KEY("kind","id"),
	CONSTRAINT "mark_kind" CHECK ("mark"."kind" IN ('jti', 'family'))
);
--> statement-breakpoint
CREATE TABLE "refresh_family" (
	"family_id" text COLLATE "C" PRIMARY KEY NOT NULL,
	"client_id" text COLLATE "C" NOT NULL,
	"subject" text COLLATE "C",
	"audience" text COLLATE "C" NOT NULL,
	"scope" text COLLATE "C",
	"seed" bytea NOT NULL,
	"generation" bigint NOT NULL,
	"generation_at" bigint NOT NULL,
	"root_version" integer NOT NULL,
	"expires_at" bigint NOT NULL,
	"family_expires_at" bigint NOT NULL,
	"ended_at" bigint,
	"end_reason" text COLLATE "C",
	"confirmation" text COLLATE "C",
	"last_jti" text COLLATE "C"
) WITH (fillfactor = 70);
--> statement-breakpoint
CREATE TABLE "replay" (
	"key" bytea PRIMARY KEY NOT NULL,
	"expires_at" bigint NOT NULL
);
--> statement-breakpoint
CREATE TABLE "resource" (
	"uri" text COLLATE "C" PRIMARY KEY NOT NULL,
	"name" text COLLATE "C",
	"scopes" text COLLATE "C" NOT NULL,
	"alg" text COLLATE "C",
	"access_token_ttl_seconds" bigint,
	"created_at" bigint NOT NULL,
	"updated_at" bigint NOT NULL
);
--> statement-breakpoint
CREATE TABLE "ring_mark" (
	"id" integer PRIMARY KEY NOT NULL,
	"high_water" bigint NOT NULL,
	"running" bigint NOT NULL,
	"resets" bigint NOT NULL,
	CONSTRAINT "ring_mark_single" CHECK ("ring_mark"."id" = 1)
);
--> statement-breakpoint
CREATE TABLE "root_key" (
	"version" integer PRIMARY KEY NOT NULL,
	"wrapped" bytea NOT NULL,
	"created_at" bigint NOT NULL
);
--> statement-breakpoint
CREATE TABLE "sequence" (
	"name" text COLLATE "C" PRIMARY KEY NOT NULL,
	"value" bigint NOT NULL
);
--> statement-breakpoint
CREATE TABLE "signing_key" (
	"kid" text COLLATE "C" PRIMARY KEY NOT NULL,
	"alg" text COLLATE "C" NOT NULL,
	"state" text COLLATE "C" NOT NULL,
	"public_jwk" text COLLATE "C" NOT NULL,
	"encrypted_private_key" bytea NOT NULL,
	"root_version" integer NOT NULL,
	"created_at" bigint NOT NULL,
	"published_at" bigint NOT NULL,
	"activated_at" bigint,
	"retiring_at" bigint,
	"retired_at" bigint,
	"compromised_at" bigint,
	"rotation_requested_at" bigint,
	"published_running" bigint DEFAULT 0 NOT NULL,
	"retiring_running" bigint,
	"cached_seconds" bigint DEFAULT 86400 NOT NULL,
	"max_ttl_seconds" bigint DEFAULT 86400 NOT NULL,
	"max_age_seconds" bigint DEFAULT 86400 NOT NULL,
	CONSTRAINT "signing_key_state" CHECK ("signing_key"."state" IN ('staged', 'active', 'retiring', 'retired', 'compromised')),
	CONSTRAINT "signing_key_alg" CHECK ("signing_key"."alg" IN ('ES256', 'RS256'))
);
--> statement-breakpoint
ALTER TABLE "client_audience" ADD CONSTRAINT "client_audience_client_id_client_client_id_fk" FOREIGN KEY ("client_id") REFERENCES "client"("client_id") ON DELETE restrict ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "client_audience" ADD CONSTRAINT "client_audience_uri_resource_uri_fk" FOREIGN KEY ("uri") REFERENCES "resource"("uri") ON DELETE restrict ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "client_introspects" ADD CONSTRAINT "client_introspects_client_id_client_client_id_fk" FOREIGN KEY ("client_id") REFERENCES "client"("client_id") ON DELETE restrict ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "client_introspects" ADD CONSTRAINT "client_introspects_uri_resource_uri_fk" FOREIGN KEY ("uri") REFERENCES "resource"("uri") ON DELETE restrict ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "client_secret" ADD CONSTRAINT "client_secret_client_id_client_client_id_fk" FOREIGN KEY ("client_id") REFERENCES "client"("client_id") ON DELETE restrict ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "signing_key" ADD CONSTRAINT "signing_key_root_version_root_key_version_fk" FOREIGN KEY ("root_version") REFERENCES "root_key"("version") ON DELETE restrict ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "client_audience_uri" ON "client_audience" USING btree ("uri");--> statement-breakpoint
CREATE INDEX "client_introspects_uri" ON "client_introspects" USING btree ("uri");--> statement-breakpoint
CREATE INDEX "client_secret_client" ON "client_secret" USING btree ("client_id");--> statement-breakpoint
CREATE INDEX "client_secret_imported" ON "client_secret" USING btree ("secret_id") WHERE "client_secret"."argon2id" IS NOT NULL;--> statement-breakpoint
CREATE INDEX "mark_sequence" ON "mark" USING btree ("sequence");--> statement-breakpoint
CREATE INDEX "mark_expiry" ON "mark" USING btree ("expires_at");--> statement-breakpoint
CREATE INDEX "mark_client" ON "mark" USING btree ("client_id");--> statement-breakpoint
CREATE INDEX "replay_expiry" ON "replay" USING btree ("expires_at");--> statement-breakpoint
CREATE UNIQUE INDEX "signing_key_one_active" ON "signing_key" USING btree ("alg") WHERE "signing_key"."state" = 'active';--> statement-breakpoint
CREATE UNIQUE INDEX "signing_key_one_staged" ON "signing_key" USING btree ("alg") WHERE "signing_key"."state" = 'staged';--> statement-breakpoint
INSERT INTO "sequence" ("name", "value") VALUES ('registry', 0), ('mark', 0);--> statement-breakpoint
INSERT INTO "ring_mark" ("id", "high_water", "running", "resets") VALUES (1, 0, 0, 0);--> statement-breakpoint
-- The fence: `src/store/postgres/fence.ts` says what it is for, and why it is a function.
CREATE FUNCTION "registry_fence"() RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  PERFORM pg_advisory_xact_lock_shared(84943065992281);
  RETURN (SELECT "value" FROM "sequence" WHERE "name" = 'registry');
END
$$;
