CREATE TABLE "copy_change" (
	"seq" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "copy_change_seq_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"table_name" text COLLATE "C" NOT NULL,
	"key" text COLLATE "C" NOT NULL
);
--> statement-breakpoint
CREATE TABLE "copy_state" (
	"id" integer PRIMARY KEY NOT NULL,
	"state" text COLLATE "C" NOT NULL,
	"copy_id" text COLLATE "C" NOT NULL,
	"store_id" text COLLATE "C" NOT NULL,
	"other" text COLLATE "C" NOT NULL,
	"at" bigint NOT NULL,
	"event_id" text COLLATE "C",
	CONSTRAINT "copy_state_single" CHECK ("copy_state"."id" = 1),
	CONSTRAINT "copy_state_state" CHECK ("copy_state"."state" IN ('leaving', 'abandoned', 'left', 'arriving', 'filling', 'arrived'))
);
