-- history.sql: eighteen months of the dealer's life.
--
-- A log of events is told, deal by deal, and imported.  Everything follows
-- from the number of a deal by arithmetic, so that two demos of one day are
-- equal to the last cent.  Only the days are counted back from today: a
-- forecast of last year would be a sad sight.

\o /dev/null

CREATE SCHEMA story;

CREATE TABLE story.event (
	deal_id bigint NOT NULL,
	seq integer NOT NULL,
	at timestamptz NOT NULL,
	pipeline_id integer NOT NULL,
	stage_id integer NOT NULL,
	name text,
	account text,
	source text,
	owner text,
	amount numeric,
	expected_close_on date,
	next_action_at timestamptz,
	close_reason text,
	actor text,
	PRIMARY KEY (deal_id, seq)
);

-- A number from 0 up to 1: a throw of dice that always falls the same.
CREATE FUNCTION story.dice(deal integer, purpose text)
RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
	SELECT ('x' || substr(md5(deal || ' ' || purpose), 1, 7))::bit(28)::integer / 268435456.0::double precision
$$;

CREATE FUNCTION story.choose(deal integer, purpose text, VARIADIC choices text[])
RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
	SELECT choices[1 + floor(cardinality(choices) * story.dice(deal, purpose))::integer]
$$;

-- The life of one deal, up to now.
CREATE FUNCTION story.tell(deal integer, deals integer)
RETURNS SETOF story.event
LANGUAGE plpgsql STABLE
AS $$
DECLARE
	pipeline text := story.choose(deal, 'pipeline', 'New cars', 'New cars', 'Used cars', 'Used cars', 'Used cars', 'Repair', 'Repair');
	days_per_stage double precision := CASE pipeline WHEN 'New cars' THEN 14 WHEN 'Used cars' THEN 5 ELSE 1.2 END;
	-- the step after which the customer says no, or is never heard of again
	no_after integer := CASE WHEN pipeline <> 'Repair' AND story.dice(deal, 'no') < 0.55
		THEN 1 + floor(4 * story.dice(deal, 'no after'))::integer END;
	silent_after integer := CASE WHEN story.dice(deal, 'silent') < 0.06
		THEN 1 + floor(4 * story.dice(deal, 'silent after'))::integer END;
	-- one in ten wants to drive another car before deciding
	second_thoughts boolean := pipeline <> 'Repair' AND story.dice(deal, 'second thoughts') < 0.1;
	way integer[];
	step integer := 1;
	stays integer := 0;
	event story.event;
BEGIN
	way := ARRAY(SELECT s.stage_id FROM pipelines.pipeline_stage s
		WHERE s.pipeline_id = pipelines.pipeline_id(pipeline) AND s.outcome = 'open' ORDER BY s.position);

	event.deal_id := deal;
	event.seq := 1;
	event.pipeline_id := pipelines.pipeline_id(pipeline);
	event.stage_id := way[1];
	event.owner := story.choose(deal, 'owner', 'Anna', 'Bruno', 'Chiara', 'Deniz', 'Emil');
	event.actor := lower(event.owner);
	event.name := CASE pipeline
		WHEN 'Repair' THEN story.choose(deal, 'work', 'Brakes', 'Inspection', 'Gearbox', 'Bumper', 'Air conditioning', 'Tyres')
		ELSE story.choose(deal, 'car', 'City car', 'Estate car', 'Van', 'Pick-up', 'Convertible', 'Minibus') END;
	event.account := story.choose(deal, 'first name', 'Ada', 'Ben', 'Cleo', 'Dora', 'Eli', 'Fay', 'Gus', 'Hana', 'Ivo', 'June')
		|| ' ' || story.choose(deal, 'last name', 'Abel', 'Brandt', 'Costa', 'Dumont', 'Ek', 'Fischer', 'Greco', 'Horvat', 'Ito', 'Jansen');
	event.source := story.choose(deal, 'source', 'walk-in', 'web', 'phone', 'referral');
	-- customers come when the shop is open
	event.at := date_trunc('day', now()) - interval '1 day' * ceil(540.0 * (deals - deal + 1) / deals)
		+ interval '1 hour' * (8 + 10 * story.dice(deal, 'hour'));
	event.amount := CASE pipeline
		WHEN 'New cars' THEN 18000 + 500 * floor(90 * power(story.dice(deal, 'price'), 2))
		WHEN 'Used cars' THEN 4000 + 250 * floor(70 * power(story.dice(deal, 'price'), 2))
		ELSE 100 + 50 * floor(50 * power(story.dice(deal, 'price'), 3)) END;
	event.expected_close_on := (event.at + interval '1 day' * ceil(days_per_stage * 5))::date;

	LOOP
		EXIT WHEN event.at > now();
		-- nobody plans to call a customer who does not answer
		event.next_action_at := CASE WHEN step IS DISTINCT FROM silent_after
			THEN date_trunc('hour', event.at) + interval '1 day' * days_per_stage * 3 END;
		RETURN NEXT event;

		stays := stays + 1;
		event.seq := event.seq + 1;
		event.at := event.at + interval '1 day' * days_per_stage * (0.2 - 0.9 * ln(1 - story.dice(deal, 'stay ' || stays)));

		IF step = silent_after THEN
			-- given up after three months
			event.at := event.at + interval '90 days';
			event.stage_id := story.ending(event.pipeline_id, 'lost');
			event.close_reason := 'no answer';
		ELSIF step = no_after THEN
			event.stage_id := story.ending(event.pipeline_id, 'lost');
			event.close_reason := story.choose(deal, 'why', 'price', 'price', 'another dealer', 'delivery time', 'changed plans');
		ELSIF step = 3 AND second_thoughts THEN
			second_thoughts := false;
			step := 2;
			event.stage_id := way[step];
		ELSIF step = cardinality(way) THEN
			event.stage_id := story.ending(event.pipeline_id, 'won');
		ELSE
			step := step + 1;
			event.stage_id := way[step];
			-- the quote says what it really costs
			IF step = 3 THEN
				event.amount := round(event.amount * (0.9 + 0.25 * story.dice(deal, 'quote'))::numeric, 2);
			END IF;
			-- a date that can't be kept any more is put off
			IF event.expected_close_on < event.at + interval '3 days' THEN
				event.expected_close_on := (event.at + interval '1 day' * ceil(days_per_stage * 3))::date;
			END IF;
		END IF;

		IF event.stage_id <> ALL (way) THEN
			IF event.at <= now() THEN
				event.next_action_at := NULL;
				RETURN NEXT event;
			END IF;
			EXIT;
		END IF;
	END LOOP;
END
$$;

-- Where a deal of a pipeline ends: won, or lost; a repair is simply done.
CREATE FUNCTION story.ending(pipeline integer, wanted text)
RETURNS integer
LANGUAGE sql STABLE
AS $$
	SELECT stage_id
	FROM pipelines.pipeline_stage
	WHERE pipeline_id = pipeline AND outcome NOT IN ('open', 'on_hold')
	ORDER BY outcome = wanted DESC, position
	LIMIT 1
$$;

INSERT INTO story.event
SELECT event.*
FROM generate_series(1, 3600) AS deal
CROSS JOIN LATERAL story.tell(deal, 3600) AS event;

SELECT * FROM pipelines.import_history('deals', 'story.event') \gset
\o
\echo :deals 'deals with' :events 'events imported:' :rows 'versions of the past.'

ANALYZE;
