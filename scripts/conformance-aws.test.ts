import { expect, test } from "vitest";
import { readSettings } from "./conformance-aws.ts";

const whole = {
  LANDLORD_TEST_AWS_CLUSTER_ARN: "arn:aws:ecs:eu-central-1:111122223333:cluster/c",
  LANDLORD_TEST_AWS_TASK_DEFINITION_ARN_1: "arn:aws:ecs:eu-central-1:111122223333:task-definition/t:1",
  LANDLORD_TEST_AWS_TASK_DEFINITION_ARN_2: "arn:aws:ecs:eu-central-1:111122223333:task-definition/t:2",
  LANDLORD_TEST_AWS_SUBNETS: "subnet-1,subnet-2",
};

test("every variable that is missing is named", () => {
  expect(readSettings({})).toBe(`set ${Object.keys(whole).join(", ")}`);
  expect(readSettings({ ...whole, LANDLORD_TEST_AWS_SUBNETS: "" })).toBe("set LANDLORD_TEST_AWS_SUBNETS");
});

test("what cannot be is refused", () => {
  expect(readSettings({ ...whole, LANDLORD_TEST_AWS_LAUNCH_TYPE: "LAMBDA" })).toMatch(
    /FARGATE, EC2 or EXTERNAL/,
  );
  expect(
    readSettings({
      ...whole,
      LANDLORD_TEST_AWS_TASK_DEFINITION_ARN_2: whole.LANDLORD_TEST_AWS_TASK_DEFINITION_ARN_1,
    }),
  ).toMatch(/differ/);
});

test("EC2 needs no subnets; a role and its external id go together", () => {
  const role = { LANDLORD_TEST_AWS_ROLE_ARN: "arn:aws:iam::1:role/r", LANDLORD_TEST_AWS_EXTERNAL_ID: "acme" };
  const { LANDLORD_TEST_AWS_SUBNETS: subnets, ...withoutSubnets } = whole;
  expect(readSettings({ ...whole, ...role })).toMatchObject({
    subnets: subnets.split(","),
    role: { roleArn: "arn:aws:iam::1:role/r", externalId: "acme" },
    endpoint: null,
  });
  expect(readSettings({ ...withoutSubnets, LANDLORD_TEST_AWS_LAUNCH_TYPE: "EC2" })).toMatchObject({
    subnets: [],
    role: null,
  });
});
